"""What a server accepts."""

from dataclasses import asdict, dataclass

from loupe.errors import require_int


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of the requests that wait.

    max_pictures: of a question. max_megapixels: of each of them, in millions of pixels. max_megabytes: of the body of a
    request, in which pictures take 4/3 of the size of their files. max_samples: answers to one question.
    max_waiting: requests that wait while another one is answered.
    """

    max_pictures: int
    max_megapixels: int
    max_megabytes: int
    max_samples: int
    max_waiting: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            require_int(f"serve.{name}", value, 1)
