"""Clean files in Japanese, as offices make them: written by hand (PDF), or by LibreOffice from small flat OpenDocument."""

import base64
import struct
import zlib

SPACES = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{space}:1.0"' for name, space in {
    "office": "office", "text": "text", "table": "table", "style": "style", "draw": "drawing", "chart": "chart",
    "presentation": "presentation", "number": "datastyle", "fo": "xsl-fo-compatible", "svg": "svg-compatible",
}.items()) + ' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:of="urn:oasis:names:tc:opendocument:xmlns:of:1.2"'

FONT = 'style:font-name="IPAMincho" style:font-name-asian="IPAMincho"'
FACES = ('<office:font-face-decls><style:font-face style:name="IPAMincho" svg:font-family="IPAMincho"/>'
         '<style:font-face style:name="Noto" svg:font-family="\'Noto Sans CJK JP\'"/></office:font-face-decls>')
RUBY = ("<text:ruby><text:ruby-base>輪島</text:ruby-base><text:ruby-text>わじま</text:ruby-text></text:ruby>市と"
        "<text:ruby><text:ruby-base>金沢</text:ruby-base><text:ruby-text>かなざわ</text:ruby-text></text:ruby>市")
# Two forms of 葛 and of 辻, told apart by selectors of variants (IVS).
IVS = "葛\U000e0100城市と葛\U000e0101飾区、辻\U000e0100さんと辻\U000e0101さん"
LETTERS = "ガがｶﾞ①㈱〜―「」、。髙﨑𠮷野家"


def png(width=96, height=64):
    """Shades that show where the top left is."""
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in (x * 2, y * 3, 90)) for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def frame(picture):
    data = base64.b64encode(picture).decode()
    return ('<draw:frame draw:name="図" text:anchor-type="as-char" svg:x="2cm" svg:y="9cm" svg:width="4cm" svg:height="2.7cm">'
            f"<draw:image><office:binary-data>{data}</office:binary-data></draw:image></draw:frame>")


def table():
    rows = [("避難所", "収容", "状況"), ("河井小学校", "420", "開設"), ("輪島中学校", "380", "準備中")]
    cell = '<table:table-cell table:style-name="Cell"><text:p>{}</text:p></table:table-cell>'
    body = "".join(f"<table:table-row>{''.join(cell.format(one) for one in row)}</table:table-row>" for row in rows)
    return f'<table:table table:name="避難所"><table:table-column table:number-columns-repeated="3"/>{body}</table:table>'


def flat(kind, styles, automatic, masters, body):
    return (f'<?xml version="1.0" encoding="UTF-8"?><office:document {SPACES} office:version="1.3" '
            f'office:mimetype="application/vnd.oasis.opendocument.{kind}">{FACES}<office:styles>{styles}</office:styles>'
            f"<office:automatic-styles>{automatic}</office:automatic-styles><office:master-styles>{masters}</office:master-styles>"
            f"<office:body>{body}</office:body></office:document>").encode()


def text(writing="lr-tb", picture=None):
    styles = (f'<style:default-style style:family="paragraph"><style:text-properties {FONT} fo:font-size="12pt" '
              'style:font-size-asian="12pt" fo:language="ja" fo:country="JP" style:language-asian="ja" style:country-asian="JP"/></style:default-style>'
              '<style:style style:name="Gothic" style:family="text"><style:text-properties style:font-name="Noto" style:font-name-asian="Noto" '
              'fo:font-weight="bold" style:font-weight-asian="bold"/></style:style>')
    automatic = ('<style:page-layout style:name="L"><style:page-layout-properties fo:page-width="21cm" fo:page-height="29.7cm" '
                 f'fo:margin="2cm" style:writing-mode="{writing}"/><style:header-style/><style:footer-style/></style:page-layout>'
                 '<style:style style:name="Cell" style:family="table-cell"><style:table-cell-properties fo:border="0.5pt solid #000000" fo:padding="1mm"/></style:style>')
    masters = ('<style:master-page style:name="Standard" style:page-layout-name="L"><style:header><text:p>輪島市 防災だより</text:p></style:header>'
               "<style:footer><text:p><text:page-number>1</text:page-number> / <text:page-count>1</text:page-count></text:p></style:footer></style:master-page>")
    body = (f"<text:p>{RUBY}の<text:span text:style-name=\"Gothic\">避難所</text:span>。{IVS}。{LETTERS}</text:p>{table()}"
            f"<text:p>{frame(picture or png())}</text:p><text:p>脚注<text:note text:note-class=\"footnote\"><text:note-citation>1</text:note-citation>"
            "<text:note-body><text:p>令和六年能登半島地震</text:p></text:note-body></text:note>と"
            '<text:a xlink:href="https://www.city.wajima.ishikawa.jp/">市のページ</text:a></text:p>'
            '<text:list><text:list-item><text:p>水・食料</text:p></text:list-item><text:list-item><text:p>毛布</text:p></text:list-item></text:list>'
            + "<text:p>次の頁まで続く文です。次の頁まで続く文です。</text:p>" * 60)
    return flat("text", styles, automatic, masters, f"<office:text>{body}</office:text>")


def chart():
    rows = "".join(
        f'<table:table-row><table:table-cell office:value-type="string"><text:p>{name}</text:p></table:table-cell>'
        f'<table:table-cell office:value-type="float" office:value="{count}"><text:p>{count}</text:p></table:table-cell></table:table-row>'
        for name, count in [("河井", 420), ("鳳至", 310), ("大屋", 205)])
    head = ('<table:table-header-rows><table:table-row><table:table-cell><text:p/></table:table-cell>'
            '<table:table-cell office:value-type="string"><text:p>人数</text:p></table:table-cell></table:table-row></table:table-header-rows>')
    local = ('<table:table table:name="local-table"><table:table-header-columns><table:table-column/></table:table-header-columns>'
             f"<table:table-columns><table:table-column/></table:table-columns>{head}<table:table-rows>{rows}</table:table-rows></table:table>")
    plot = ('<chart:plot-area><chart:axis chart:dimension="x" chart:name="primary-x"><chart:categories table:cell-range-address="local-table.$A$2:.$A$4"/></chart:axis>'
            '<chart:axis chart:dimension="y" chart:name="primary-y"/><chart:series chart:class="chart:bar" '
            'chart:values-cell-range-address="local-table.$B$2:.$B$4" chart:label-cell-address="local-table.$B$1"><chart:data-point chart:repeated="3"/></chart:series></chart:plot-area>')
    return (f'<office:document {SPACES} office:mimetype="application/vnd.oasis.opendocument.chart" office:version="1.3"><office:body><office:chart>'
            f'<chart:chart svg:width="8cm" svg:height="6cm" chart:class="chart:bar"><chart:title><text:p>避難者数</text:p></chart:title>'
            f'<chart:legend chart:legend-position="end"/>{plot}{local}</chart:chart></office:chart></office:body></office:document>')


def object_frame():
    return ('<draw:frame draw:name="グラフ" svg:x="1cm" svg:y="5cm" svg:width="8cm" svg:height="6cm">'
            f"<draw:object>{chart()}</draw:object></draw:frame>")


def sheet():
    styles = f'<style:default-style style:family="table-cell"><style:text-properties {FONT}/></style:default-style>'
    automatic = ('<style:page-layout style:name="L"><style:page-layout-properties fo:page-width="21cm" fo:page-height="29.7cm" fo:margin="2cm"/>'
                 "<style:header-style/><style:footer-style/></style:page-layout>"
                 '<style:style style:name="Tate" style:family="table-cell"><style:table-cell-properties style:direction="ttb" fo:border="0.5pt solid #000000"/></style:style>'
                 '<style:style style:name="Cell" style:family="table-cell"><style:table-cell-properties fo:background-color="#ffeecc" fo:border="0.5pt solid #000000"/></style:style>'
                 '<style:style style:name="High" style:family="table-row"><style:table-row-properties style:row-height="3cm"/></style:style>')
    masters = ('<style:master-page style:name="Default" style:page-layout-name="L"><style:header><text:p>避難所一覧</text:p></style:header>'
               "<style:footer><text:p><text:page-number>1</text:page-number></text:p></style:footer></style:master-page>")
    rows = ('<table:table-row table:style-name="High"><table:table-cell table:style-name="Tate" office:value-type="string"><text:p>避難所</text:p></table:table-cell>'
            f'<table:table-cell table:style-name="Cell" office:value-type="string"><text:p>{IVS}</text:p></table:table-cell></table:table-row>')
    rows += "".join(
        f'<table:table-row><table:table-cell office:value-type="string"><text:p>{name}</text:p></table:table-cell>'
        f'<table:table-cell office:value-type="float" office:value="{count}"><text:p>{count}</text:p></table:table-cell></table:table-row>'
        for name, count in [("河井小", 420), ("輪島中", 380)])
    rows += ('<table:table-row><table:table-cell office:value-type="string"><text:p>計</text:p></table:table-cell>'
             '<table:table-cell table:formula="of:=SUM([.B2:.B3])" office:value-type="float" office:value="800"><text:p>800</text:p></table:table-cell></table:table-row>')
    body = (f'<table:table table:name="避難所"><table:shapes>{object_frame()}{frame(png())}</table:shapes>'
            f'<table:table-column table:number-columns-repeated="2"/>{rows}</table:table>')
    return flat("spreadsheet", styles, automatic, masters, f"<office:spreadsheet>{body}</office:spreadsheet>")


def slides():
    styles = f'<style:default-style style:family="graphic"><style:text-properties {FONT} fo:font-size="18pt" style:font-size-asian="18pt"/></style:default-style>'
    automatic = ('<style:page-layout style:name="L"><style:page-layout-properties fo:page-width="28cm" fo:page-height="21cm" fo:margin="0cm"/></style:page-layout>'
                 '<style:style style:name="Tate" style:family="graphic"><style:graphic-properties draw:fill="solid" draw:fill-color="#ddeeff"/>'
                 '<style:paragraph-properties style:writing-mode="tb-rl"/></style:style>')
    masters = '<style:master-page style:name="M" style:page-layout-name="L"/>'
    box = ('<draw:frame draw:style-name="{}" svg:x="{}cm" svg:y="1cm" svg:width="{}cm" svg:height="{}cm"><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>')
    one = (box.format("", 1, 18, 2, RUBY + "の避難計画") + box.format("Tate", 22, 4, 12, "縦書きの見出し「避難」") + frame(png())
           + '<draw:custom-shape svg:x="14cm" svg:y="14cm" svg:width="6cm" svg:height="3cm"><text:p>図形</text:p><draw:enhanced-geometry '
             'svg:viewBox="0 0 21600 21600" draw:type="ellipse" draw:enhanced-path="U 10800 10800 10800 10800 0 360 Z N"/></draw:custom-shape>')
    body = (f'<draw:page draw:name="一" draw:master-page-name="M">{one}</draw:page>'
            f'<draw:page draw:name="二" draw:master-page-name="M">{object_frame()}{box.format("", 1, 18, 2, IVS + LETTERS)}</draw:page>')
    return flat("presentation", styles, automatic, masters, f"<office:presentation>{body}</office:presentation>")


def document(objects):
    """A PDF of these objects, of which the first is its catalogue."""
    out, places = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + one + b"\nendobj\n"
    rows = "".join(f"{place:010} 00000 n \n" for place in places)
    count = len(objects) + 1
    return out + f"xref\n0 {count}\n0000000000 65535 f \n{rows}trailer << /Size {count} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n".encode()


def pdf():
    """Vertical and horizontal Japanese in fonts that are not in the file, ruby, variants by their numbers, a picture."""
    def font(name, encoding, more=""):
        return (f"<< /Type /Font /Subtype /Type0 /BaseFont /{name} /Encoding /{encoding} /DescendantFonts [<< /Type /Font /Subtype /CIDFontType0 "
                f"/BaseFont /{name} /CIDSystemInfo << /Registry (Adobe) /Ordering (Japan1) /Supplement 6 >> /DW 1000 {more} /FontDescriptor << /Type /FontDescriptor "
                f"/FontName /{name} /Flags 6 /FontBBox [-170 -331 1024 903] /ItalicAngle 0 /Ascent 723 /Descent -241 /CapHeight 709 /StemV 69 >> >>] >>")

    def shown(letters):
        return "<" + letters.encode("utf-16-be").hex() + ">"
    content = "\n".join([
        f"BT /V 20 Tf 360 500 Td {shown('縦書きの「案内」、避難所。')} Tj ET",
        f"BT /V 20 Tf 320 500 Td {shown('令和六年ー12ページ（一）')} Tj ET",
        f"BT /H 24 Tf 40 520 Td {shown('輪島市と金沢市')} Tj ET",
        f"BT /H 8 Tf 46 546 Td {shown('わじま')} Tj 96 0 Td {shown('かなざわ')} Tj ET",
        f"BT /G 18 Tf 40 480 Td {shown(LETTERS)} Tj ET",
        # 辻 with one dot and with two, 葛 in both forms, 邉: letters of Adobe-Japan1.
        "BT /C 24 Tf 40 440 Td <08CD 1DC6 1481 1E1E 20B0 3421> Tj ET",
        "q 96 0 0 64 40 340 cm /P Do Q", "0.2 0.5 0.3 rg 40 300 200 12 re f", "/T gs 1 0 0 rg 60 290 80 40 re f",
    ]).encode()
    width, height = 96, 64
    pixels = zlib.compress(bytes(v for y in range(height) for x in range(width) for v in (x * 2, y * 3, 90)))

    def stream(head, data):
        return f"<< {head} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 420 595] /Contents 4 0 R /Resources << /Font << /V 5 0 R /H 6 0 R /G 7 0 R /C 8 0 R >> "
        b"/XObject << /P 9 0 R >> /ExtGState << /T << /Type /ExtGState /ca 0.4 >> >> >> >>",
        stream("", content), font("Ryumin-Light", "UniJIS-UTF16-V").encode(), font("Ryumin-Light", "UniJIS-UTF16-H").encode(),
        font("GothicBBB-Medium", "UniJIS-UTF16-H").encode(), font("Ryumin-Light", "Identity-H").encode(),
        stream(f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /FlateDecode", pixels),
    ]
    return document(objects)


def shared():
    """Forms without resources of their own, one in the other, that draw with fonts, pictures and colours of their page, and these of the tree above."""
    def stream(head, data):
        return f"<< {head} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"
    pixels = zlib.compress(bytes(v for y in range(64) for x in range(96) for v in (x * 2, y * 3, 90)))
    form = "/Type /XObject /Subtype /Form /BBox [0 0 300 300]"
    outer = b"/Mine cs 0.2 0.5 0.3 sc 20 250 200 20 re f /G gs 1 0 0 rg 40 240 80 40 re f q 1 0 0 1 0 -40 cm /Inner Do Q"
    inner = b"BT /F 24 Tf 20 200 Td (Wajima) Tj ET q 96 0 0 64 20 120 cm /Photo Do Q q 120 0 0 40 20 60 cm /Shade sh Q"
    return document([
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 /Resources << /Font << /F 4 0 R >> /XObject << /Outer 5 0 R /Inner 6 0 R /Photo 7 0 R >> "
        b"/ExtGState << /G << /ca 0.4 >> >> /ColorSpace << /Mine /DeviceRGB >> /Shading << /Shade << /ShadingType 2 /ColorSpace /DeviceRGB "
        b"/Coords [0 0 1 0] /Function << /FunctionType 2 /Domain [0 1] /C0 [1 0 0] /C1 [0 0 1] /N 1 >> >> >> >> >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 8 0 R >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        stream(form, outer), stream(form, inner),
        stream("/Type /XObject /Subtype /Image /Width 96 /Height 64 /ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /FlateDecode", pixels),
        stream("", b"/Outer Do"),
    ])
