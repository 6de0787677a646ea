"""The picture of a routing head's clusters that `routing_example.py` draws."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextToPath
from torch import Tensor

WIDTH, MARGIN = 720.0, 24.0  # points
LETTERS = "ABCDEFGH"
# Paul Tol's "light" scheme, made for black text on it, told apart by colour-blind readers.
COLOURS = "#77aadd #ee8866 #eedd88 #ffaabb #99ddff #44bb99 #bbcc33 #dddddd".split()
INK, QUIET, ROUTED, NEAR = "#222222", "#6f6f6f", "#2b6cb0", "#b4541a"


@dataclass(frozen=True, slots=True)
class Routing:
    """What a routing head, and a local head beside it, do with a text of L positions.

    Attributes:
        read: the id that each position reads, which is the one before it; position 0 reads 0.
        scores: (C, L), query · centroid.
        windows: (C, W), the positions that each cluster takes, ascending.
        routed: (L, L), how much of position j the routing head gives to position i.
        local: (L, L), the same of the local head.
    """

    read: list[int]
    scores: Tensor
    windows: Tensor
    routed: Tensor
    local: Tensor

    def clusters(self, position: int) -> list[int]:
        """The clusters that take a position."""
        taking: list[int] = (self.windows == position).any(1).nonzero().flatten().tolist()
        return taking

    def farthest(self) -> int:
        """Of the second half, the position that takes most from beyond what is local."""
        beyond = (self.routed * (self.local == 0)).sum(1)
        half = len(beyond) // 2
        return half + int(beyond[half:].argmax())


def wide(text: str, size: float) -> float:
    """The width of a text in points."""
    font = FontProperties(family="DejaVu Serif", size=size)
    return float(
        TextToPath().get_text_width_height_descent(text.replace("$", r"\$"), font, False)[0]
    )


class Page:
    """A picture measured in points, from the top left, on which text is laid out."""

    def __init__(self) -> None:
        height = 1000.0  # until `end`
        self.figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=144, facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        self.axes.axis("off")

    def write(self, x: float, y: float, text: str, size: float = 9, **how: Any) -> None:
        """Text whose baseline is at y."""
        text = text.replace("$", r"\$")
        self.axes.text(x, y, text, size=size, **{"color": INK, "va": "baseline", **how})

    def end(self, bottom: float) -> None:
        """Cut the page at y."""
        self.figure.set_figheight(bottom / 72)
        self.axes.set_ylim(bottom, 0)

    def row(self, y: float, cluster: int, words: list[str]) -> None:
        """A cluster's letter, and as many of its words as fit a line."""
        corner = (MARGIN, y - 10)
        self.axes.add_patch(Rectangle(corner, 16, 14, color=COLOURS[cluster], lw=0))
        self.write(MARGIN + 8, y, LETTERS[cluster], 9, ha="center")
        x = MARGIN + 26
        for word in words:
            if x + wide(word, 9.5) > WIDTH - MARGIN:
                break
            self.write(x, y, word, 9.5, family="DejaVu Serif")
            x += wide(word, 9.5) + 14

    def running(self, top: float, pieces: list[str], routing: Routing) -> float:
        """The text, each piece on the colours of its clusters; gives where it ends."""
        shown = [piece.strip() or "·" for piece in pieces]
        letters = ["".join(LETTERS[c] for c in routing.clusters(i)) for i in range(len(pieces))]
        boxes = [max(wide(s, 10.5), 5.5 * len(n)) + 2 for s, n in zip(shown, letters, strict=True)]
        starts = [i for i, (a, b) in enumerate(pairwise(["", *pieces]))
                  if not i or a.endswith(" ") or b.startswith(" ")]  # fmt: skip
        x, y = MARGIN, top
        for first, after in pairwise([*starts, len(pieces)]):
            if x + sum(boxes[first:after]) > WIDTH - MARGIN:
                x, y = MARGIN, y + 29
            for i in range(first, after):
                inside = routing.clusters(i)
                band = boxes[i] / max(len(inside), 1)
                for n, c in enumerate(inside):
                    patch = Rectangle((x + n * band, y - 11), band, 15, color=COLOURS[c], lw=0)
                    patch.set_gid(f"{i} {c}")
                    self.axes.add_patch(patch)
                middle = x + boxes[i] / 2
                self.write(middle, y, shown[i], 10.5, ha="center", family="DejaVu Serif")
                self.write(middle, y + 11, letters[i], 6.5, ha="center", color=QUIET)
                x += boxes[i]
            x += 3
        return y

    def arcs(self, base: float, words: list[str], position: int, weights: Tensor, colour: str,
             members: Iterable[int]) -> None:  # fmt: skip
        """Whence a position takes what: arcs as thick as their weights, the largest named."""
        scale = (WIDTH - 2 * MARGIN) / (len(words) - 1)
        for j in range(len(words)):
            self.axes.plot(MARGIN + j * scale, base, "|", color="#d8d8d8", ms=4, mew=0.7)
        for j in members:
            self.axes.plot(MARGIN + j * scale, base, "s", color=colour, ms=3)
        here = MARGIN + position * scale
        for j in weights.nonzero().flatten().tolist():
            x, weight = MARGIN + j * scale, float(weights[j])
            high = base - 12 - 46 * (here - x) / (WIDTH - 2 * MARGIN)
            curve = Path([(x, base - 3), (x, high), (here, high), (here, base - 3)], [1, 4, 4, 4])
            look = {"lw": 0.3 + 14 * weight, "alpha": 0.25 + 0.6 * min(3 * weight, 1)}
            self.axes.add_patch(PathPatch(curve, fill=False, color=colour, **look))
        largest = (j for j in weights.topk(8).indices.tolist() if weights[j] >= 0.02)
        right = here - wide(words[position], 9) / 2 - 8
        for j in sorted({*largest} - {position}, reverse=True):  # from the right, none over another
            text, foot = f"{words[j]} {100 * float(weights[j]):.0f}%", MARGIN + j * scale
            right = min(right - wide(text, 8), foot - wide(text, 8) / 2)
            middle = right + wide(text, 8) / 2
            self.axes.plot([foot, middle], [base + 3, base + 14], color="#bbbbbb", lw=0.6)
            self.write(right, base + 23, text, 8)
            right -= 7
        self.write(here, base + 23, words[position], 9, ha="center", weight="bold")


def draw(
    routing: Routing, pieces: list[str], lists: list[list[str]], position: int, source: str
) -> Figure:
    """The picture.

    Args:
        routing: what the heads do.
        pieces: the text of each position, as in running text.
        lists: for each cluster the words that fit it, the best first.
        position: the one whose attention is drawn.
        source: whose text it is.
    """
    page, words = Page(), [piece.strip() for piece in pieces]
    page.write(MARGIN, 34, "What one routing head puts together", 15, weight="bold")
    size = f"Each colour and letter is a cluster: the {routing.windows.shape[1]} of {len(pieces)} "
    page.write(MARGIN, 52, size + "tokens that fit its centroid best. Without colour: in none.")
    y = page.running(80, pieces, routing) + 28
    page.write(MARGIN, y, source, 7.5, color=QUIET)
    y += 34
    page.write(MARGIN, y, f"What “{words[position]}” attends to", 12, weight="bold")
    clusters = routing.clusters(position)
    letters = " and ".join(LETTERS[c] for c in clusters)
    page.write(MARGIN, y + 18, f"The routing head: cluster {letters}, anywhere", color=ROUTED)
    members = set(routing.windows[clusters].flatten().tolist())
    page.arcs(y + 80, words, position, routing.routed[position], ROUTED, members)
    page.write(MARGIN, y + 124, "A local head of the same layer: the neighbourhood", color=NEAR)
    near = routing.local[position]
    page.arcs(y + 168, words, position, near, NEAR, near.nonzero().flatten().tolist())
    y += 226
    page.write(MARGIN, y, "What each cluster is about", 12, weight="bold")
    how = "The words of held-out articles that score highest with its centroid, on average. "
    page.write(MARGIN, y + 16, how + "A hyphen: the word goes on.", 8.5, color=QUIET)
    y += 36
    for c, row in enumerate(lists):
        page.row(y, c, row)
        y += 19
    page.end(y)
    return page.figure
