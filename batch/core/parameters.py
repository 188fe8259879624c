"""The parameters of the model, once: name, type, default, range.

This table is the only place that knows them. The manifest's validators, the command line's options, the report's
columns and the local API's checks are made from it. It imports nothing, so `texbatch --help` stays quick. Source: the
vendor's page of `qwen-image-edit-plus-texture-apply`.
"""

from __future__ import annotations

from dataclasses import dataclass

MODEL = "qwen-image-edit-plus-texture-apply"

Scalar = str | int | bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its JSON type, the service's default and what the service accepts.

    `kind` is "text", "image" (an http(s) URL, or for us a local file), "url", "int" or "bool"; `choices` and the
    inclusive `minimum` … `maximum` bound the value.
    """

    name: str
    kind: str
    default: Scalar
    help: str
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    required: bool = False


ASPECT_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "match_input_image")
IMAGE_FORMATS = ("jpeg", "png", "webp")
EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}
FORMAT_SPELLINGS = {"jpg": "jpeg"}
"""How people write an image format, in lower case, and what the service calls it."""
RANDOM_SEED = -1
MAX_SEED = 2_147_483_647

PARAMETERS: tuple[Parameter, ...] = (
    Parameter("prompt", "text", "A beautiful photo", "What to do with the two images.", required=True),
    Parameter("image_1", "image", "", "The product image: a file or an http(s) URL.", required=True),
    Parameter("image_2", "image", "", "The texture image: a file or an http(s) URL.", required=True),
    Parameter("image_3", "image", "", "An optional third image."),
    Parameter("lora", "text", "texture_apply", "The LoRA of this model.", choices=("texture_apply",)),
    Parameter("lora_2_url", "url", "", "Extra LoRA weights."),
    Parameter("lora_3_url", "url", "", "Extra LoRA weights."),
    Parameter(
        "aspect_ratio", "text", "match_input_image", "Shape of the finished image.", choices=ASPECT_RATIOS
    ),
    Parameter("seed", "int", 87_568_756, "Random seed; -1 draws one.", minimum=RANDOM_SEED, maximum=MAX_SEED),
    Parameter("image_format", "text", "webp", "File format of the finished image.", choices=IMAGE_FORMATS),
    Parameter("quality", "int", 95, "Encoder quality.", minimum=1, maximum=100),
    Parameter("base64", "bool", False, "Take the image inside the result instead of from a URL."),  # noqa: FBT003  the default, not a flag
)

BY_NAME: dict[str, Parameter] = {parameter.name: parameter for parameter in PARAMETERS}
IMAGE_PARAMETERS = tuple(parameter.name for parameter in PARAMETERS if parameter.kind == "image")
URL_PARAMETERS = tuple(parameter.name for parameter in PARAMETERS if parameter.kind in {"image", "url"})
