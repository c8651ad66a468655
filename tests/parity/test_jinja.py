"""Chat templates, byte for byte against transformers: every template that comes with `trl`, and a table of small ones.

The program under test is build/tools/render_template: one process renders all cases of a test.
"""
import datetime
import importlib.util
import json
import os
import subprocess
from pathlib import Path

import jinja2
import pytest
from transformers.utils import chat_template_utils

import chat_cases

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("LORICA_BUILD", "build"))
TOOL = (TOOL if TOOL.is_absolute() else ROOT / TOOL) / "tools" / "render_template"
NOW = 1_700_000_000
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, tz)


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch):
    monkeypatch.setattr(chat_template_utils, "datetime", FixedClock)


def rendered(cases: list[dict]) -> list[dict]:
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    result = subprocess.run([str(TOOL)], input=lines, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.split("\n") if line]


def differs(render, ours: dict) -> str:
    """What is wrong with `ours` beside what `render()` gives; "" if nothing is."""
    try:
        text, spans = render()
    except Exception as refusal:  # whatever Python's operations raise
        if "fault" not in ours:
            return f"transformers refuses: {refusal!r}, ours gives {ours['text']!r}"
        raised = type(refusal) is jinja2.TemplateError
        if raised != (ours["fault"] == "raised") or (raised and ours["message"] != str(refusal)):
            return f"transformers refuses: {refusal!r}, ours: {ours}"
        return ""
    if ours.get("text") != text:
        return f"\n  transformers {text!r}\n  ours         {ours.get('text', ours)!r}"
    if [tuple(span) for span in ours["spans"]] != spans:
        return f"spans {spans}, ours {ours['spans']}"
    return ""


def chat_case(messages, more: dict, prompt: bool) -> dict:
    more = {"tools": None, "documents": None, **more}
    return {"messages": chat_template_utils._alias_reasoning_fields(messages), "add_generation_prompt": prompt, **more, **TOKENS}


def by_transformers(template: str, messages, more: dict, prompt: bool):
    texts, spans = chat_template_utils.render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=prompt, return_assistant_tokens_mask=True, **more, **TOKENS)
    return texts[0], spans[0]


def trl_templates() -> list[Path]:
    """Found without importing trl, whose own requirements needn't be there."""
    package = Path(importlib.util.find_spec("trl").submodule_search_locations[0])
    return sorted((package / "chat_templates").glob("*.jinja"))


@pytest.mark.parametrize("part", range(4))
def test_every_template_of_trl(part):
    templates = trl_templates()
    assert len(templates) > 40
    chosen = [(path.name, path.read_text(encoding="utf-8")) for path in templates[part::4]]
    runs = [(name, template, title, messages, more, prompt)
            for name, template in chosen
            for title, (messages, more) in chat_cases.CONVERSATIONS.items()
            for prompt in (False, True)]
    ours = rendered([{"name": name, "template": template, "context": chat_case(messages, more, prompt), "now": NOW}
                     for name, template, _, messages, more, prompt in runs])
    faults = []
    for (name, template, title, messages, more, prompt), result in zip(runs, ours, strict=True):
        fault = differs(lambda: by_transformers(template, messages, more, prompt), result)
        if fault:
            faults.append(f"{name}, {title}, prompt={prompt}: {fault}")
    assert not faults, f"{len(faults)} of {len(runs)} differ:\n" + "\n".join(faults[:20])


def small_templates() -> list[str]:
    return ["{{ " + expression + " }}" for expression in chat_cases.EXPRESSIONS] + chat_cases.BLOCKS


def test_small_templates():
    templates = small_templates()
    ours = rendered([{"template": template, "context": chat_cases.CONTEXT, "now": NOW} for template in templates])

    def render(template):
        compiled = chat_template_utils._compile_jinja_template(template)
        blocks, spans = [], []
        with compiled.environment.activate_tracker(blocks, spans):
            for block in compiled.generate(**chat_cases.CONTEXT):
                blocks.append(block)
        return "".join(blocks), spans

    faults = [f"{template}: {fault}" for template, result in zip(templates, ours, strict=True) if (fault := differs(lambda: render(template), result))]
    assert not faults, f"{len(faults)} of {len(templates)} differ:\n" + "\n".join(faults)
