"""Colours, by what they mean. Light ones are SVG attributes, so that figures survive where styles are
refused; dark ones are rules that override them on screen."""

from __future__ import annotations

COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1b2430", "#e8edf3"),
    "soft": ("#55616f", "#a3afbd"),
    "grid": ("#dfe4ea", "#313b47"),
    "edge": ("#b9c2cc", "#4a5663"),
    "lane": ("#f6f8fa", "#1a2129"),
    "phase": ("#e8ecf1", "#2b3541"),
    "band": ("#fbdcd8", "#4a2020"),
    "on": ("#f2a79d", "#8c342d"),
    "proof": ("#9c1c14", "#ff9d92"),
    "idle": ("#dbe1e8", "#3a4551"),
    "run": ("#b7d5f7", "#1f4e80"),
    "retry": ("#f7d58a", "#7a5410"),
    "good": ("#a9dfbb", "#1d6238"),
    "bad": ("#f3aaa5", "#8c2a2a"),
    "other": ("#d9c9f2", "#56417d"),
    "goodmark": ("#17753a", "#5fd38a"),
    "badmark": ("#b3201b", "#ff8f87"),
    "area": ("#bcd8f8", "#1d4a78"),
    "line": ("#1762b5", "#7ab8f5"),
    "disk": ("#6a3fb5", "#c3a5f5"),
    "warnmark": ("#8a5a00", "#f2bf56"),
    "v-pass": ("#2c8a4d", "#3fa565"),
    "v-fail": ("#c62f28", "#e0594f"),
    "v-unverified": ("#c98a06", "#d9a02b"),
    "v-invalid": ("#7a5cc0", "#9c82dc"),
    "v-skipped": ("#9aa5b1", "#6b7784"),
}


def paint(name: str, *, stroke: bool = False) -> dict[str, str]:
    """Attributes that fill (or stroke) with a colour, in light and dark."""
    light = COLOURS[name][0]
    return {"stroke": light, "class": f"s-{name}"} if stroke else {"fill": light, "class": f"f-{name}"}


def dark_rules() -> str:
    """The rules for dark screens."""
    rules = [f".f-{n}{{fill:{dark}}}.s-{n}{{stroke:{dark}}}" for n, (_, dark) in COLOURS.items()]
    return "@media screen and (prefers-color-scheme:dark){" + "".join(rules) + "}"
