"""Strings that users and files bring, and that each place they are shown at has to survive."""

NASTY = {
    "markup": "[/x] [red]red[/red] [link=http://a.example]b[/link] :smile:",
    "mathematics": "a$x_b_c$ $\\frac{1}{$",
    "markdown": "| a | **b** `c` <script>alert(1)</script> [x](javascript:y) # d",
    "lines": "one\ntwo\r\n\n# three\u2028four",
    "formula": '=HYPERLINK("http://a.example";"b")',
    "controls": "\x1b[31mred\x1b[0m \x07\x08\x00 \x9b31m",
    "surrogate": "half \ud83d",
    "right to left": "\u05d0\u05d1\u05d2 \u202egpj.exe\u202c \u0627\u0644\u0639",
    "scripts": "\u4e2d\u6587 \u0928\u092e\u0938\u094d\u0924\u0947 \U0001f600 \u0e01\u0e32\u0e23",
    "underscore": "_hidden",
    "long": "x" * 10_000,
    "long words": "word " * 2_000,
    "template": "{{title}} {0} %s ${oc.env:HOME}",
    "empty": "",
}
