"""Texts for the tokenizer's parity tests: seeded, nasty, and of every block of Unicode."""
import random
import sys
import unicodedata

WORDS = ("the of and to in is that it was for on are as with his they at be this have from or one had by word but not what all were we "
         "when your can said there use an each which she do how their if will up other about out many then them these so some her would "
         "make like him into time has look two more write go see number no way could people my than first water been call who oil its "
         "now find long down day did get come made may part don't we'll they've I'm he'd she's it're IT'S DON'T naïve café Zürich "
         "coöperate façade Ελλάδα Москва москва привет 東京 日本語 中文 한국어 العربية עברית हिन्दी ไทย čeština İstanbul ǅungla ﬁnal Ⅷ ½ ²").split()
CODE = ("def f(x):\n    return x ** 2 + {n}\n", "for (int i = 0; i < {n}; ++i) {{\n\tsum += a[i];\n}}\n", "SELECT * FROM t WHERE id >= {n};",
        "#include <vector>\r\nint main() {{ return {n}; }}\r\n", "let s = \"it's {n}\\n\"; // don't\n", "<div class=\"x\">{n}</div>\n\n\n",
        "if __name__ == '__main__':\n        main({n})\n", "x = {{'a': [1,2,{n}], \"b\": None}}", "https://example.org/a/b?c={n}&d=%20//e",
        "0x{n}F 1_000_{n} 3.14159e-{n} $1,{n}.00 100%")
SPACES = (" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n ", "\u00a0", "\u3000", "\u2028", "\x0b", "\x0c", "\x85", "\u200b", "\u180e",
          "\u1680", "\u202f")
MARKS = [c for c in map(chr, range(0x300, 0x370))] + ["\u0334", "\u0327", "\u093c", "\u3099", "\u0345", "\u1dfa", "\u20dd", "\u200d"]
SPECIALS = ("<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<pad>", "<s", "s>", "<|im_", "<mask>",
            "▁", "<0x0A>", "<0xE4>")
ASSIGNED = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]


def prose(r):
    return " ".join(r.choice(WORDS) + r.choice(("", "", "", ",", ".", "!", "?", ";", "…", "'s", "”", ")")) for _ in range(r.randint(1, 25)))


def code(r):
    return "".join(r.choice(CODE).format(n=r.randint(0, 10 ** r.randint(1, 9))) for _ in range(r.randint(1, 3)))


def whitespace(r):
    return "".join(r.choice((r.choice(SPACES) * r.randint(1, 6), r.choice(WORDS), r.choice("a1.,'é中/"))) for _ in range(r.randint(1, 20)))


def marks(r):
    return "".join(r.choice("aAeEoO가각Ααかウकক🏽👩") + "".join(r.choices(MARKS, k=r.randint(0, 4))) for _ in range(r.randint(1, 12)))


def specials(r):
    return "".join(r.choice((r.choice(SPECIALS), r.choice(SPECIALS), r.choice(WORDS), r.choice(SPACES))) for _ in range(r.randint(1, 12)))


def any_unicode(r):
    return "".join(chr(r.choice(ASSIGNED)) if r.random() < 0.3 else r.choice("abcXYZ 123.,é ") for _ in range(r.randint(1, 30)))


def emoji(r):
    return "".join(r.choice(("👍🏽", "👩‍👩‍👧", "🇩🇪", "❤️", "ａｂ", "①", "㍿", "ﬃ", "Å", "ſ", "'ſ", "'S", "'LL", "K", " ")) for _ in range(r.randint(1, 12)))


def malformed(r):
    data = bytearray((prose(r) + emoji(r)).encode())
    for _ in range(r.randint(1, 5)):
        at = r.randrange(len(data))
        if r.random() < 0.5:
            data[at] = r.randrange(256)
        else:
            data[at:at + 1] = r.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8", b"\xf0\x9f\x92", b"\x80"))
    return bytes(data)


def blocks():
    """Each assigned code point once, 32 to a text, alone and between letters."""
    assigned = [chr(c) for c in ASSIGNED if unicodedata.category(chr(c)) not in ("Cn", "Co") or c % 64 == 0]
    for start in range(0, len(assigned), 32):
        chunk = assigned[start:start + 32]
        yield "".join(chunk)
        if start % 8 == 0:
            yield " ".join(f"a{c}B" for c in chunk)


def lines(count=20_000, seed=1):
    """`count` texts as bytes, some of them malformed UTF-8."""
    r = random.Random(seed)
    makers = (prose, prose, code, whitespace, marks, specials, any_unicode, emoji, malformed)
    out = [b"", b" ", b"\n", b"a", " ▁ ".encode()]
    out += [text.encode() for text in blocks()]
    out += [b"a" * 3000, b" " * 3000, b"ab " * 2000, ("x" * 200 + "é中" * 300).encode(), b"\n" * 700, b"=" * 999]
    while len(out) < count:
        text = r.choice(makers)(r)
        out.append(text if isinstance(text, bytes) else text.encode("utf-8", errors="replace"))
    return out


def corpus(count=3000, seed=2):
    """Texts to train tokenizers on."""
    r = random.Random(seed)
    return [r.choice((prose, prose, code, marks, any_unicode, whitespace))(r) for _ in range(count)]
