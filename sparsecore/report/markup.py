"""Elements of a page: a thin layer over the tree of the standard library, which does the escaping."""

from __future__ import annotations

from xml.etree import ElementTree

__all__ = ["Node", "node", "to_html"]

Node = ElementTree.Element


def node(tag: str, *content: Node | str | None, **attributes: str | float | None) -> Node:
    """Return an element with text and children in order; what is ``None`` is left out.

    Parameters
    ----------
    tag : str
        Its name.
    *content : Node or str, optional
        Children and text between them.
    **attributes : str or float, optional
        Underscores become hyphens, one at the end is dropped: ``class_``, ``stroke_width``. Numbers are rounded to 5
        digits.

    Examples
    --------
    >>> to_html(node("p", "a < b ", node("b", "bold"), class_="note"))
    '<p class="note">a &lt; b <b>bold</b></p>'
    """
    plain = {name.rstrip("_").replace("_", "-"): _plain(value) for name, value in attributes.items()}
    element = Node(tag, {name: value for name, value in plain.items() if value is not None})
    last: Node | None = None
    for part in content:
        if isinstance(part, str):
            if last is None:
                element.text = (element.text or "") + part
            else:
                last.tail = (last.tail or "") + part
        elif part is not None:
            element.append(part)
            last = part
    return element


def to_html(element: Node) -> str:
    """Return an element as HTML."""
    return ElementTree.tostring(element, encoding="unicode", method="html")


def _plain(value: str | float | None) -> str | None:
    return value if value is None or isinstance(value, str) else f"{value:.5g}"
