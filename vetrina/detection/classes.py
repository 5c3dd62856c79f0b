"""Class names: what a setting may say, what a detector can answer, and which class contains which.

Belongs here: checking and expanding lists of classes, and the Open Images hierarchy (Clothing ⊃ Dress). Not
here: the names themselves (`open_images`), and what a pipeline does with boxes of other classes.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from vetrina.detection.open_images import CHILDREN
from vetrina.errors import SettingError

# Branches of the hierarchy that no shop sells as such: people, animals, and what stands in streets. A class that
# is also reached through another branch stays (a teddy bear as a toy, a tomato as food, a knife as cutlery).
_NOT_PRODUCTS = frozenset(
    [
        "Animal",
        "Beehive",
        "Billboard",
        "Building",
        "Fire hydrant",
        "Parking meter",
        "Person",
        "Porch",
        "Skull",
        "Stairs",
        "Street light",
        "Swimming pool",
        "Traffic light",
        "Traffic sign",
        "Weapon",
    ]
)


@dataclass(frozen=True, slots=True)
class ClassChoice:
    """What a list of classes means for one detector.

    Attributes:
        selected: the names of the detector's vocabulary that are wanted.
        undetectable: names asked for of which the detector knows neither the class nor any class within it.
    """

    selected: frozenset[str]
    undetectable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClassList:
    """A setting such as "general", "fashion" or "Chair, Table", checked against the Open Images names.

    Attributes:
        text: the setting as written.
        names: the names it stands for, each once, presets expanded.
    """

    text: str
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, vocabulary: Sequence[str] = ()) -> "ClassList":
        """Read a setting: names and presets, separated by commas.

        Args:
            text: the setting.
            vocabulary: further names to accept, of a detector that was not trained on Open Images.

        Raises:
            SettingError: the list is empty, or a name is unknown (with the nearest names).
        """
        words = [word.strip() for word in text.split(",") if word.strip()]
        if not words:
            raise SettingError(f"The class list {text!r} is empty: name classes or a preset ({_preset_names()})")
        names: dict[str, None] = {}
        for word in words:
            if word in PRESETS:
                names.update(dict.fromkeys(PRESETS[word]))
            else:
                names[known_class(word, vocabulary)] = None
        return cls(text, tuple(names))

    def choose(self, vocabulary: Sequence[str]) -> ClassChoice:
        """What the list means for a detector with this vocabulary (see `choose_classes`).

        "general" means all products *that the detector knows*, so it reports nothing as undetectable.
        """
        choice = choose_classes(self.names, vocabulary)
        if "general" not in [word.strip() for word in self.text.split(",")]:
            return choice
        spelled = set(self.names) - set(PRESETS["general"])
        return ClassChoice(choice.selected, tuple(n for n in choice.undetectable if n in spelled))


def choose_classes(names: Iterable[str], vocabulary: Sequence[str]) -> ClassChoice:
    """Which names of the vocabulary the names select: themselves and, for an ancestor, its descendants.

    Raises:
        SettingError: a name is unknown, or the detector can detect none of them.
    """
    asked = tuple(dict.fromkeys(known_class(name, vocabulary) for name in names))
    selected: set[str] = set()
    undetectable = []
    for name in asked:
        found = {label for label in vocabulary if within(label, name)}
        selected |= found
        if not found:
            undetectable.append(name)
    if not selected:
        shown = ", ".join(asked[:8]) + (", …" if len(asked) > 8 else "")
        raise SettingError(
            f"The detector detects none of the classes {shown or '(none named)'}; it knows: {', '.join(vocabulary)}"
        )
    return ClassChoice(frozenset(selected), tuple(undetectable))


def resolve_classes(names: Iterable[str], vocabulary: Sequence[str]) -> frozenset[str]:
    """The names of the vocabulary that are selected; `choose_classes` also tells what is undetectable."""
    return choose_classes(names, vocabulary).selected


def known_class(name: str, vocabulary: Sequence[str] = ()) -> str:
    """The name itself when it is an Open Images name or of the vocabulary; else SettingError with suggestions."""
    known = open_images_names()
    if name in known or name in vocabulary:
        return name
    raise SettingError(f"Unknown class {name!r}: {_suggestion(name, [*known, *vocabulary])}")


def within(label: str, ancestor: str) -> bool:
    """Whether the label is the ancestor or a kind of it: within("Dress", "Clothing")."""
    return label == ancestor or ancestor in _ancestors(label)


def descendants(name: str) -> frozenset[str]:
    """Every class within the named one, itself excluded."""
    return frozenset(label for label in open_images_names() if label != name and within(label, name))


@cache
def open_images_names() -> frozenset[str]:
    """The 601 names of the Open Images boxable vocabulary (V4)."""
    return frozenset(_parents())


@cache
def _parents() -> dict[str, frozenset[str]]:
    """Each name's direct parents; none for the names at the top."""
    parents: dict[str, set[str]] = {}
    for parent, children in CHILDREN.items():
        for child in children.split(", "):
            parents.setdefault(child, set()).update({parent} - {""})
    return {name: frozenset(above) for name, above in parents.items()}


@cache
def _ancestors(label: str) -> frozenset[str]:
    above = _parents().get(label, frozenset())
    return above.union(*(_ancestors(parent) for parent in above))


def _suggestion(name: str, known: Sequence[str]) -> str:
    """What the writer may have meant: a missing comma, another spelling, or where to look."""
    for cut in range(1, len(name)):
        if (left := name[:cut].strip()) in known and (right := name[cut:].strip()) in known:
            return f"is a comma missing between {left!r} and {right!r}?"
    if name.casefold() in (preset.casefold() for preset in PRESETS):
        return f"did you mean the preset {name.casefold()!r}?"
    spelled = {candidate.casefold(): candidate for candidate in known}
    # "&" is how people write the "and" of this vocabulary; without this the nearest names are poor.
    near = difflib.get_close_matches(name.casefold().replace("&", "and"), spelled, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(repr(spelled[n]) for n in near)}?"
    return f"classes are named as in Open Images V4 (e.g. 'Chair', 'Luggage and bags'); presets: {_preset_names()}"


def _preset_names() -> str:
    return ", ".join(PRESETS)


def _general() -> tuple[str, ...]:
    """Every Open Images class that a general shop could sell: no people, animals, buildings or street furniture."""
    tops = [
        name
        for name, above in _parents().items()
        if not above and name not in _NOT_PRODUCTS and not name.startswith("Human ")
    ]
    return tuple(sorted(name for name in open_images_names() if any(within(name, top) for top in tops)))


def _fashion() -> tuple[str, ...]:
    """The 48 fashion classes: everything within Open Images' "Clothing" (footwear, accessories and bags included).

    The source's own list of 48 is not to be found in public text; this one is composed from the hierarchy, which
    happens to hold exactly 48. The catch-all "Clothing" itself is left out: its boxes span whole outfits.
    """
    return tuple(sorted(descendants("Clothing")))


PRESETS: dict[str, tuple[str, ...]] = {"general": _general(), "fashion": _fashion()}
