"""Pages of the site that are made from other files: the tutorials, and the pages at the top.

A hook of MkDocs (`mkdocs.yml`). The notebooks of `examples/` are shown as they were saved, with
their outputs; nothing is executed.
"""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ("matrix_multiply", "blocked_matrix_multiply", "convolution", "handwritten_digits")
TOP = {
    "start.md": "README.md",
    "tests.md": "tests/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
"""Pages of the site that are files outside `docs/`."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages and the notebooks' pictures."""
    for name in NOTEBOOKS:
        text, pictures = notebook_page(ROOT / "examples" / f"{name}.ipynb")
        files.append(File.generated(config, f"tutorials/{name}.md", content=text))
        for picture, data in pictures.items():
            files.append(File.generated(config, f"tutorials/{picture}", content=data))
    script = ROOT / "examples" / "vta_get_started.py"
    files.append(
        File.generated(config, "tutorials/vta_get_started.md", content=script_page(script))
    )
    for name, source in TOP.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = text.replace("# amaranth-vta", "# Get started", 1)
        text = site_links(text, os.path.dirname(source))
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links of `docs/` that lead out of it, as in a clone, lead to the site's pages."""
    if page.file.generated_by is not None:
        return markdown
    return site_links(markdown, os.path.dirname(f"docs/{page.file.src_uri}"))


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        if source:
            parts.append(_block("python", source))
        for output in cell["outputs"]:
            content: dict[str, Any] = output.get("data", {})
            if "image/png" in content:
                name = f"{path.stem}_{len(pictures)}.png"
                pictures[name] = base64.b64decode("".join(content["image/png"]))
                shown = "".join(content.get("text/plain", ["output"]))
                shown = re.sub(r"Picture\('(.*)'\)", r"\1", shown)
                parts.append(f"![{shown}]({name})")
            else:
                text = "".join(output.get("text", content.get("text/plain", [])))
                parts.append(_block("text", text.rstrip("\n")))
    return "\n\n".join(parts) + "\n", pictures


def script_page(path: Path) -> str:
    """A script as Markdown: its docstring, headings from `# 1. Title ---`, comments as prose."""
    code = path.read_text(encoding="utf-8")
    docstring = re.match(r'"""(.*?)"""\n', code, re.DOTALL)
    assert docstring is not None
    title, _, text = docstring[1].partition("\n\n")
    parts = [f"# {title.rstrip('.')}", text]
    for block in re.split(r"\n{2,}", code[docstring.end() :].strip("\n")):
        if heading := re.match(r"# (\d+\. .+?) -+\n#\n", block):
            parts.append(f"## {heading[1]}")
            block = block[heading.end() :]
        elif heading := re.fullmatch(r"# (\d+\. .+?) -+", block):
            parts.append(f"## {heading[1]}")
            continue
        if all(line.startswith("#") for line in block.splitlines()):
            parts.append("\n".join(line.removeprefix("#").strip() for line in block.splitlines()))
        elif parts[-1].startswith("```python"):
            parts[-1] = parts[-1].removesuffix("\n```") + f"\n\n{block}\n```"
        else:
            parts.append(_block("python", block))
    return "\n\n".join(parts) + "\n"


def site_links(text: str, folder: str) -> str:
    """A page of the repository's `folder`, with its links as they are on the site.

    A file that the site does not have is named, not linked.
    """
    pages = {source: name for name, source in TOP.items()}
    pages |= {f"examples/{name}.ipynb": f"tutorials/{name}.md" for name in NOTEBOOKS}
    pages["examples/vta_get_started.py"] = "tutorials/vta_get_started.md"
    here = os.path.relpath(folder, "docs") if folder.startswith("docs") else "."

    def link(found: re.Match[str]) -> str:
        title, target = found[1], found[2]
        if "://" in target or target.startswith("#"):
            return found[0]
        path, mark, anchor = target.partition("#")
        path = os.path.normpath(os.path.join(folder, path))
        page = path.removeprefix("docs/") if path.startswith("docs/") else pages.get(path)
        if page is None:
            return title
        return f"[{title}]({os.path.relpath(page, here)}{mark}{anchor})"

    return re.sub(r"\[([^]]+)\]\(([^)\s]+)\)", link, text)


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"
