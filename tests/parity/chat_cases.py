"""Conversations and small templates that tests/parity/test_jinja.py renders."""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a place, \"now\" or <later> & 'there'.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "a town"},
                    "days": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
                    "unit": {"type": ["string", "null"], "enum": ["°C", "°F"]},
                    "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}, "required": ["lat"]},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["place"],
            },
            "return": {"type": "object", "properties": {"degrees": {"type": "number"}}},
        },
    },
    {"type": "function", "function": {"name": "stop", "description": "Ends it.", "parameters": {"type": "object", "properties": {}}}},
]


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, identifier="call_0001"):
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


ONE = [said("user", "Hello!"), said("assistant", "Hi, what can I do?")]
WEATHER = {"place": "Zürich", "days": 2, "unit": None, "exact": True, "ratio": 0.5, "where": {"lat": 47.4, "lon": 8}, "tags": ["a", "b\"c"]}
CALLED = [
    said("user", "Weather?"),
    {"role": "assistant", "content": "", "tool_calls": [call("get_weather", WEATHER)]},
    said("tool", '{"degrees": 21.5}', name="get_weather", tool_call_id="call_0001"),
    said("assistant", "It is 21.5 °C."),
]
REASONED = [
    said("user", "1+1?"),
    said("assistant", "2", reasoning_content="One and one\nmake two."),
    said("user", "And 2+2?"),
    said("assistant", "\n4\n", reasoning_content=" easy "),
]

# name -> (messages, what else the template gets)
CONVERSATIONS = {
    "one turn": (ONE, {}),
    "question only": (ONE[:1], {}),
    "system": ([said("system", "You are brief.\n"), *ONE], {}),
    "system only": ([said("system", "You are brief.")], {}),
    "developer": ([said("developer", "Be brief."), *ONE], {}),
    "many turns": ([said("system", "S"), *ONE, said("user", "  spaces  "), said("assistant", "\n\nlines\n"), said("user", "More?")], {}),
    "two users in a row": ([said("user", "a"), said("user", "b"), said("assistant", "c"), said("assistant", "d")], {}),
    "assistant first": ([said("assistant", "I begin."), *ONE], {}),
    "empty strings": ([said("system", ""), said("user", ""), said("assistant", "")], {}),
    "no messages": ([], {}),
    "unicode": ([said("user", "Grüße 你好 🎉 ¡é!"), said("assistant", "ẞ ß İ ﬁ \u00a0\u2003x\u3000 <b>&'\"")], {}),
    "markers in text": ([said("user", "<|im_start|>{{ x }}{% if %}"), said("assistant", "<think>a</think>b</think>c")], {}),
    "think in content": ([said("user", "q"), said("assistant", "<think>\nhm\n</think>\n\nanswer"), said("user", "r"), said("assistant", "<think></think>s")], {}),
    "reasoning": (REASONED, {}),
    "reasoning, thinking off": (REASONED, {"enable_thinking": False}),
    "reasoning, thinking on": (REASONED[:3], {"enable_thinking": True, "thinking": True}),
    "tools": (CALLED, {"tools": TOOLS}),
    "tools and system": ([said("system", "Use tools."), *CALLED, said("user", "Thanks")], {"tools": TOOLS}),
    "tools, a question only": (CALLED[:1], {"tools": TOOLS}),
    "tool calls without tools": (CALLED, {}),
    "tool result last": (CALLED[:3], {"tools": TOOLS[:1]}),
    "tool calls as text": ([CALLED[0], {"role": "assistant", "content": "Wait.", "tool_calls": [call("stop", '{"a": 1}')]}, CALLED[2]], {"tools": TOOLS}),
    "two calls, content none": (
        [CALLED[0], {"role": "assistant", "content": None, "reasoning_content": "both", "tool_calls": [call("get_weather", {"place": "A"}, "abcdefghi"), call("stop", {}, "123456789")]},
         said("tool", "1", tool_call_id="abcdefghi", name="get_weather"), said("tool", "2", tool_call_id="123456789", name="stop"), said("assistant", "done")],
        {"tools": TOOLS}),
    "content lists": ([said("user", [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "?"}]), said("assistant", [{"type": "text", "text": "A cat."}])], {}),
    "images and videos": ([said("user", [{"type": "image", "image": "x.png"}, {"type": "video", "video": "x.mp4"}, {"type": "text", "text": "?"}]), ONE[1]], {"add_vision_id": True}),
    "unknown role": ([said("narrator", "Once."), *ONE], {}),
    "no content": ([{"role": "user"}, ONE[1]], {}),
    "content a number": ([said("user", 3), said("assistant", 1.5)], {}),
}

CONTEXT = {
    "n": 7, "f": 2.5, "neg": -3, "t": True, "no": None, "s": "Hello, World", "u": "héllo ß 你好 🎉", "e": "", "sp": "  a b \n", "h": "<a href='x'>&\"</a>",
    "l": [3, 1, 2], "m": [], "d": {"b": 1, "a": [1, "x", None, True, 2.0], "it's": "q\"'"}, "items": 5,
    "people": [{"name": "bo", "age": 3}, {"name": "Al", "age": 1, "x": {"y": 2}}, {"name": "cy", "age": 3}],
}

EXPRESSIONS = """
1 + 2 * 3 - 4 / 2
7 // 2
-7 // 2
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
1 / 3
1e16
1.5e-7
123456789.125
1e22
0.1 + 0.2
1_000
0xff + 0b11 + 0o17
10 / 0
10 % 0
true + 1
true
none
not none
1 == 1.0
1 == true
'a' == "a"
1 < 2 < 3
1 < 2 > 5
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
n in l
3 in l
'World' in s
1 in s
'b' in d
'z' not in d
x in l
'a' in no
n > 3 and f
m or 'empty'
not m and t
'yes' if n > 3 else 'no'
'yes' if n < 3
('yes' if n < 3) is defined
1 if 0 else 2 if 0 else 3
s ~ n ~ no ~ f
s + n
s + '!' * 3
l + [4]
(1,) + (2, 3)
l * 2
'a' 'b' "c"
'tab\\tnew\\nq\\'u\\u00e9\\x41\\101\\z'
[1, 2.0, 'x', none, true, (1,), (1, 2), (), {'a': 1}]
{'a': {'b': [1]}, 1: 2, none: 3, true: 4}
{1: 'a', 1.0: 'b', true: 'c'}
d
d.a
d['it\\'s']
d.missing
d.missing.more
d['missing']
missing
missing.x
missing + 1
missing ~ 'x'
missing | length
missing == none
missing == other_missing
s.missing
no.x
n.x
l[0]
l[-1]
l[5]
l[true]
l['x']
l.0
d.items()
d.keys() | list
d.values() | list
d.keys()
d.get('b')
d.get('zz')
d.get('zz', 9)
d.copy is defined
d.update is defined
d.update({'a': 1})
l.append(3)
l.append is defined
l.count(1)
l.index(2)
l.index(9)
items
s[0]
s[-1]
u[1]
u[6:9]
u[::-1]
s[::2]
s[5:1:-2]
s[-3:]
s[:-3]
s[100:]
l[1:]
l[::-1]
l[::0]
l['a':]
s[1.0]
range(5)
range(1, 10, 3)
range(5) | list
range(5, 0, -2) | list
range(0)
range(100001)
range(3)[1]
range(10)[2:5]
s | upper
u | upper
u | lower
u | title
'they\\'re bill\\'s friends-here (ok) [x]' | title
"they're bill's".title()
'ΟΔΥΣΣΕΥΣ ΑΣ.' | lower
'ǆ ŉ ﬃ' | upper
s | lower | capitalize
'hELLO wORLD'.capitalize()
'Ab'.swapcase()
sp | trim
sp | trim(' \\n')
'xxaxx' | trim('x')
sp.strip() ~ '|'
sp.lstrip() ~ '|'
sp.rstrip() ~ '|'
'xyaxy'.strip('xy')
'\u00a0a\u2003'.strip()
'abc'.lstrip('ab')
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.rsplit(',', 1)
' a  b c '.split()
' a  b c '.split(none, 1)
' a  b c '.rsplit(none, 1)
'a b c'.split(maxsplit=1)
'abc'.split('')
''.split()
''.split(',')
'a\\nb\\r\\nc\\n'.splitlines()
'a\\nb'.splitlines(true)
s.startswith('Hell')
s.startswith(('x', 'Hell'))
s.endswith('x')
s.startswith(1)
s.replace('l', 'L')
s.replace('l', 'L', 1)
'abc'.replace('', '-')
'äb'.replace('', '-')
s.find('o')
s.find('o', 5)
s.rfind('o')
u.find('你')
s.find('zz')
s.index('zz')
s.count('l')
'aaa'.count('')
s.removeprefix('Hello')
s.removesuffix('World')
', '.join(['a', 'b'])
', '.join([1])
'-'.join('abc')
'{} and {}'.format(1, 'x')
'{0}{1}{0}'.format('a', 'b')
'{x:>5}|{y:<5}|{z:^5}|'.format(x=1, y='a', z=2.5)
'{:.2f} {:05d} {:,} {:x} {:+d} {:%} {:e}'.format(3.14159, 42, 1234567, 255, 3, 0.25, 12345.678)
'{!r}'.format('a')
'{a[b]}'.format(a=d)
'{'.format()
'{{}}'.format()
'%s %d %.2f %5s|%-5s|%05d %x %%' % ('a', 3, 1.5, 'b', 'c', 7, 255)
'%s' % n
'%(a)s' % {'a': 1}
'%s %s' % (1,)
'%d' % 'x'
'a' % 1
'%s-%s' | format(1, 2)
'a=b'.partition('=')
'a=b=c'.rpartition('=')
'7'.zfill(3)
'-7'.zfill(4)
'a'.center(4, '*') ~ 'a'.ljust(3) ~ 'a'.rjust(3)
'12'.isdigit() and 'ab'.isalpha() and 'a1'.isalnum() and ' '.isspace()
'Ab'.isupper() or 'ab'.islower()
s.__class__
d.__class__.__mro__
l | length
d | length
n | length
u | length
no | default('x')
missing | default('x')
missing | default
e | default('x', true)
no | d('x', boolean=true)
l | join(', ')
l | join
'abc' | join('-')
people | join(', ', attribute='name')
[no, t, f] | join(',')
l | sort
l | sort(reverse=true)
['b', 'A', 'c'] | sort
['b', 'A', 'c'] | sort(case_sensitive=true)
people | sort(attribute='age') | map(attribute='name') | list
people | sort(attribute='age,name') | map(attribute='name') | list
[1, 'a'] | sort
l | first
l | last
m | first
m | last
'abc' | first
l | reverse | list
'abc' | reverse
l | max
l | min
m | max
people | max(attribute='age')
l | sum
people | sum(attribute='age')
[[1], [2]] | sum(start=[])
l | sum(start=10)
[1, 1, 2, 'a', 'A'] | unique | list
l | map('string') | list
['a', 'b'] | map('upper') | join
people | map(attribute='x.y', default='-') | list
people | map(attribute='name') | map('replace', 'o', '0') | list
l | map('nofilter') | list
l | select('odd') | list
l | select('gt', 1) | list
l | reject('==', 1) | list
[0, 1, '', 'a'] | select | list
people | selectattr('x') | list
people | selectattr('age', 'equalto', 3) | map(attribute='name') | list
people | rejectattr('age', 'eq', 3) | map(attribute='name') | list
people | selectattr('x', 'defined') | list | length
l | select('odd') | length
d | items | list
missing | items | list
l | items | list
s.__class__ is defined
s.__class__ + 1
s.__class__.x
d | dictsort
{'b': 1, 'A': 2, 'c': 0} | dictsort
{'b': 1, 'A': 2, 'c': 0} | dictsort(true)
{'b': 1, 'A': 2} | dictsort(by='value', reverse=true)
d | list
'abc' | list
n | list
n | string ~ 'x'
'12' | int + 1
'12.7' | int
'x' | int
'x' | int(5)
'0x1f' | int(0, 16)
' 12 ' | int
'1_0' | int
none | int
2.9 | int
'1.5' | float
'x' | float
'inf' | float
-3 | abs
neg | abs
2.5 | round
3.5 | round
2.675 | round(2)
42.55 | round(1, 'floor')
42.55 | round(1, 'ceil')
42 | round
1234 | round(-2)
h | e
h | safe | e
(h | safe) ~ '<'
(h | safe) + '<'
h | escape | upper
[h | safe, '<'] | join('<')
'%s' | safe
d | tojson
d | tojson(indent=2)
d | tojson(2)
u | tojson
u | tojson(ensure_ascii=true)
{'b': 1, 'a': {'d': 1, 'c': []}} | tojson(sort_keys=true, separators=(',', ':'))
{'b': [1, {}], 'a': []} | tojson(indent='\\t')
[1.0, 1e100, none, true, "\\u2028\\x7f\\x00/"] | tojson
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
{(1, 2): 3} | tojson
missing | tojson
(1, 2) | tojson
d.items() | tojson
h | tojson
'a\\nb\\n\\nc' | indent
'a\\nb\\n\\nc' | indent(2, true, true)
'a\\nb' | indent('> ')
s | wordcount
s | urlencode
{'a b': 'c&d', 'e': 1} | urlencode
s | replace('l', 'L')
n | replace('7', '8')
s | replace('l', 'L', 1)
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3] | batch(2, 'x') | list
[1, 2, 3, 4, 5] | slice(2) | list
[1, 2, 3, 4, 5] | slice(2, 'x') | list
'a long text with words' | truncate(12, false, '...', 0)
'a long text with words' | truncate(12, true, '...', 0)
'abc' | center(9)
d | attr('b')
people | groupby('age') | list | length
s | nosuchfilter
n is nosuchtest
n is defined
missing is defined
missing is undefined
no is none
n is number
t is number
t is integer
n is integer
f is float
t is boolean
t is true
n is true
t is false
s is string
d is mapping
l is mapping
l is sequence
s is sequence
d is sequence
n is sequence
missing is sequence
missing is iterable
l is iterable
n is iterable
s is iterable
range is callable
s is callable
n is odd
n is even
n is divisibleby 7
n is divisibleby(2)
n is eq 7
n is gt(3)
n is in l
3 is in l
n is not none
not n is none
n is sameas 7
s is lower
'ABC' is upper
'upper' is filter
'odd' is test
s is eq 'x' or n is odd
namespace(a=1).a
namespace(a=1, b='x')
namespace({'a': 1}).a
dict(a=1, b=2)
dict([('a', 1)])
dict({'a': 1}, b=2)
l == [3, 1, 2]
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
-n
+f
-s
not s
s()
n()
raise_exception('bad: ' ~ n)
strftime_now('%Y-%m-%d %H:%M:%S %d %B %b %A %j')
strftime_now('%-d %B %Y')
9223372036854775807
(1, 2, 3)[1]
[[1, 2], [3]][0][1]
'a' if missing else 'b'
'a' if missing is defined and missing.x else 'b'
l | length > 2
(l | length) * 2
n ~ 1 + 2
n - 1 ~ 2
not 1 == 2
1 in [1] == true
[1, 2, 3,]
{'a': 1,}
d.a[3] and d.a[4]
d | length == 3 and 'ok' or 'bad'
'x'.upper().lower()
'a' + 'b' | upper
('a' + 'b') | upper
-1 | abs
2 * 3 | string
""".strip("\n").split("\n")

BLOCKS = [
    "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {{ loop.previtem }}>{{ loop.nextitem }};{% endfor %}",
    "{% for i in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i > 1) }}{{ loop.depth }}{% endfor %}",
    "{% for i in m %}x{% else %}none{% endfor %}|{% for i in l if i > 1 %}{{ i }}{{ loop.length }}{% else %}none{% endfor %}",
    "{% for i in l if i > 9 %}{{ i }}{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for x in [[1, [2, [3]]]] recursive %}{% if x is iterable %}({{ loop(x) }}){{ loop.depth }}{% else %}{{ x }}{% endif %}{% endfor %}",
    "{% for i in n %}{% endfor %}", "{% for i in missing %}{% else %}e{% endfor %}", "{% for c in u %}{{ c }},{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}",
    "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.missing }}{{ ns }}",
    "{% set d.x = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set a, b = 1, 2 %}{{ b }}{{ a }}{% set (a, b) = [3, 4] %}{{ a }}{{ b }}",
    "{% if true %}{% set y = 2 %}{% endif %}{{ y }}", "{% set y %}a{{ n }}\n{% set z = 3 %}{% endset %}[{{ y }}]{{ z }}", "{% set y | upper | replace('A', 'b') %}a{% endset %}{{ y }}",
    "{% macro f(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1) }}|{{ f(1, 3, 4, 5) }}|{{ f(1, x=3) }}|{{ f() }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}",
    "{% macro f(a) %}[{{ caller(a + 1) }}]{% endmacro %}{% call(x) f(2) %}<{{ x }}{{ n }}>{% endcall %}", "{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}", "{% macro f() %}x{% endmacro %}{% call f() %}y{% endcall %}",
    "{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}{{ f }}"[:-7],
    "{{ f(1) if f is defined else 'no f' }}{% macro f(x) %}{{ x }}{% endmacro %}", "{% for i in l %}{% macro g() %}{{ i }}{% endmacro %}{{ g() }}{% endfor %}{{ g is defined }}",
    "{% set x = 1 %}{% macro f() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ f() }}", "{% macro f() %}{% set x = 5 %}{{ x }}{% endmacro %}{{ f() }}{{ x is defined }}", "{% macro f() %}{{ s }}{% endmacro %}{{ f() | upper }}{{ f().split(',') }}",
    "{% filter upper | replace('B', 'c') %}ab{{ n }}{% endfilter %}", "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}", "{% with n = 1, b = n %}{{ b }}{% endwith %}",
    "a{% generation %}b{% set q = 1 %}{% endgeneration %}c{{ q is defined }}{% generation %}é{% for i in l %}{{ i }}{% endfor %}{% endgeneration %}{% generation %}{% endgeneration %}",
    "{# c #}a{#- c -#} b", "a  {#- c #}  \n b", "{% raw %}{{ x }}{% endraw %}{%- raw -%}  {% if %} {%- endraw -%}  b", "{% raw %}\n a\n{% endraw %}\nb",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc\n\n", "a\n  {%+ if true %}\n  b\n  {%+ endif +%}\nc", "  {{ n }}  \n  {{- n -}}  \n x", "{% if true %}\r\na\r{% endif %}\r\n",
    "\n\n{% set x = 1 %}\n\n{{ x }}\n\n", "  {% set x = 1 %} {% set y = 2 %}\n a", "x {% set y = 1 %}\n  {# c #}\n  {% if y %}\nz{% endif %}", "\t{% if 1 %} a {% endif %}\t\n", "{{ '{%' }}{{ \"}}\" }}{{ {'a': {'b': 1}}['a']['b'] }}",
    "{%- if a is defined and a -%}1{%- elif n == 7 -%}2{%- else -%}3{%- endif -%}", "{% if missing %}a{% elif missing.x %}b{% endif %}", "{% if no.x %}{% endif %}x", "{% if no.x.y %}{% endif %}x",
    "{% set j = joiner('|') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.next() }}",
    "{% set g = l | map('string') %}{{ g | join }}{{ g | join }}|{{ g is iterable }}", "{{ range(3) | map('string') | list }}{{ [] is sameas [] }}{% set q = l %}{{ q is sameas l }}",
    "{% if n %}", "{% endif %}", "{% for i in l %}", "{{ n", "{{ }}", "{% unknown %}", "{% if n %}{% endfor %}", "{# open", "{{ 'open }}", "{{ 1 + }}", "{{ (1 }}", "{{ [1) }}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{{ a b }}", "{% break %}", "{{ n is odd is even }}", "{% raw %}", "{{ f(a=1, 2) }}", "{{ ; }}", "{% macro f(a=1, b) %}{% endmacro %}",
    "{{ loop }}"[:0] + "{% for i in l %}{% for j in l %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}", "{% for i in l %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}", "{{ d.items() | list }}{% for pair in d | items %}{{ pair[0] }}{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "{% for i in l | sort %}{% set outer = loop %}{% for j in 'ab' %}{{ outer.index }}{{ j }}{% endfor %}{% endfor %}", "{% for i in l + [9] if i is odd %}{{ loop.revindex }}{{ i }}{% endfor %}", "{{ people[1].x.y }}{{ people[0].x.y }}", "{{ (people | first).name }}{{ (people | selectattr('age', 'eq', 1) | first).name }}",
    "{{ s.split(', ')[-1].strip() }}{{ (s.split('l') | last) }}{{ s.split('o')[0].rstrip('l').split('e')[-1] }}", "{% set x = d.b if d.b is defined else none %}{{ x }}{{ '' if x is none }}", "{{ 'a' if 'b' in d and d['b'] == 1 and not d.get('c') else 'z' }}", "{%set x=1%}{{x}}{%if x==1%}y{%endif%}",
    "{{- 'a' -}}\n\n{{- 'b' }}\n", "{% if t is true and no is none and f is not string %}ok{% endif %}", "{{ n | string | length }}{{ [n, f] | map('int') | sum }}",
]
