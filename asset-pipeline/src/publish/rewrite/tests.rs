use proptest::prelude::*;

use super::*;

/// Exchanges `x.png` for `X.png` and the like, and notes what it heard.
#[derive(Default)]
struct Capitals(Vec<(Role, String)>);

impl Links for Capitals {
    fn reference(&mut self, reference: Reference<'_>) -> Option<String> {
        self.0.push((reference.role, reference.url.to_owned()));
        let renamed = reference::renamed(reference.url, "X.y");
        (reference.role != Role::Fixed && reference.url.contains("x.")).then_some(renamed)
    }

    fn integrity(&mut self, _: Reference<'_>) -> Option<String> {
        Some("sha384-new".to_owned())
    }
}

/// Hears and changes nothing.
struct Silent;

impl Links for Silent {
    fn reference(&mut self, _: Reference<'_>) -> Option<String> {
        None
    }

    fn integrity(&mut self, _: Reference<'_>) -> Option<String> {
        None
    }
}

fn table(dialect: Dialect, rows: &[(&str, &str)]) {
    for (before, after) in rows {
        let found = dialect.rewrite(before, &mut Capitals::default());
        assert_eq!(found.as_deref(), Ok(*after));
    }
}

#[test]
fn files_of_a_source_map() {
    table(
        Dialect::SourceMap,
        &[
            (
                r#"{"version":3, "file": "x.css", "sources":["q/x.scss", null, "y"], "mappings":"x."}"#,
                r#"{"version":3, "file": "X.y", "sources":["q/X.y", null, "y"], "mappings":"x."}"#,
            ),
            (
                r#"{"sections":[{"offset":{},"map":{"sources":["x.a"],"version":3}}],"version":3,"file":"x.b"}"#,
                r#"{"sections":[{"offset":{},"map":{"sources":["X.y"],"version":3}}],"version":3,"file":"X.y"}"#,
            ),
        ],
    );
    for junk in [
        "",
        "{}",
        "[3]",
        r#"{"version":2}"#,
        r#"{"version":3,"sources":"x"}"#,
    ] {
        assert!(
            Dialect::SourceMap.rewrite(junk, &mut Silent).is_err(),
            "{junk}"
        );
    }
}

#[test]
fn urls_of_a_style_sheet() {
    table(
        Dialect::Css,
        &[
            ("a{b:url(x.png)}", "a{b:url(X.y)}"),
            ("a{b:url( 'q/x.png?a#b' )}", "a{b:url( 'q/X.y?a#b' )}"),
            ("a { b : URL(\tx.png ) ; }", "a { b : URL(\tX.y ) ; }"),
            (r"a{b:url(\78.png)}", r#"a{b:url("X.y")}"#),
            ("@import 'x.css' screen;", "@import 'X.y' screen;"),
            ("@import/* */\"x.css\";", "@import/* */\"X.y\";"),
            ("@import url(x.css);", "@import url(X.y);"),
            (
                "a{b:image-set('x.png' 1x, url(x.png) type('x.png') 2x)}",
                "a{b:image-set('X.y' 1x, url(X.y) type('x.png') 2x)}",
            ),
            ("@media(a){@b{c:url(x.png)}}", "@media(a){@b{c:url(X.y)}}"),
            ("a{--b:url(x.png)}", "a{--b:url(X.y)}"),
            // No URLs: strings, comments, other functions, junk.
            ("a::before{content:'x.png'}", "a::before{content:'x.png'}"),
            ("/* url(x.png) */", "/* url(x.png) */"),
            (
                "a{}\n/*# sourceMappingURL=x.css.map */",
                "a{}\n/*# sourceMappingURL=X.y */",
            ),
            (
                "/*@ sourceMappingURL=q/x.map*/",
                "/*@ sourceMappingURL=q/X.y*/",
            ),
            (
                "/* sourceMappingURL=x.map */",
                "/* sourceMappingURL=x.map */",
            ),
            ("a[b='x.png']{}", "a[b='x.png']{}"),
            ("@charset 'x.css';", "@charset 'x.css';"),
            ("a{b:url(x.png", "a{b:url(X.y"),
            ("}}]) a{b:url(x.png)}", "}}]) a{b:url(X.y)}"),
            ("a{b:url(x.p'ng)}", "a{b:url(x.p'ng)}"),
        ],
    );
}

#[test]
fn urls_of_a_page() {
    table(
        Dialect::Html,
        &[
            (
                "<link rel='stylesheet' href=x.css integrity='sha384-old'>",
                "<link rel='stylesheet' href=\"X.y\" integrity=\"sha384-new\">",
            ),
            (
                "<img src='/a/x.png?b=1&amp;c=2'>",
                "<img src=\"/a/X.y?b=1&amp;c=2\">",
            ),
            (
                "<img srcset='x.png 1x, /d/x.png, y.png 2x,x.png'>",
                "<img srcset=\"X.y 1x, /d/X.y, y.png 2x,X.y\">",
            ),
            (
                "<p style='background:url(&quot;x.png&quot;)'>",
                "<p style=\"background:url(&quot;X.y&quot;)\">",
            ),
            (
                "<style>a{b:url('x.png')}</style>",
                "<style>a{b:url('X.y')}</style>",
            ),
            (
                "<svg><use xlink:href='x.svg#i'/></svg>",
                "<svg><use xlink:href=\"X.y#i\" /></svg>",
            ),
            (
                "<script type=module src=x.js></script>",
                "<script type=module src=\"X.y\"></script>",
            ),
            (
                r#"<script type="importmap">{"imports": {"x": "/js/x.js?v", "none": null, "lib/": "./x.lib/"},
                "scopes": {"/p/": {"x": "../x.js"}}, "integrity": {"/js/x.js": "sha384-a"}, "new": [1]}</script>"#,
                r#"<script type="importmap">{"imports": {"x": "/js/X.y?v", "none": null, "lib/": "./x.lib/"},
                "scopes": {"/p/": {"x": "../X.y"}}, "integrity": {"/js/X.y": "sha384-a"}, "new": [1]}</script>"#,
            ),
            (
                r#"<script type=importmap>{"imports":{"x":"x.js","y":"https://else.where/x.js"}}</script>"#,
                r#"<script type=importmap>{"imports":{"x":"x.js","y":"https://else.where/x.js"}}</script>"#,
            ),
            (
                "<script type=importmap src=x.js></script><script>'x.js'</script>",
                "<script type=importmap src=\"X.y\"></script><script>'x.js'</script>",
            ),
            // Kept as they are.
            ("<a href='x.html'>x.png</a >", "<a href='x.html'>x.png</a >"),
            (
                "<link rel=manifest href='x.json'>",
                "<link rel=manifest href='x.json'>",
            ),
            (
                "<link rel=preload as=fetch href='x.json'>",
                "<link rel=preload as=fetch href='x.json'>",
            ),
            (
                "<link rel=canonical href='x.html'>",
                "<link rel=canonical href='x.html'>",
            ),
            (
                "<script>fetch('x.json')</script>",
                "<script>fetch('x.json')</script>",
            ),
            ("<!-- <img src=x.png> -->", "<!-- <img src=x.png> -->"),
            (
                "<INPUT  Type=text SRC=x.png >",
                "<INPUT  Type=text SRC=x.png >",
            ),
            (
                "<textarea><img src=x.png></textarea>",
                "<textarea><img src=x.png></textarea>",
            ),
        ],
    );
}

#[test]
fn an_import_map_that_is_none_is_refused() {
    for junk in [
        "{",
        "[]",
        r#"{"imports":3}"#,
        r#"{"integrity":{"\/x.js":""}}"#,
    ] {
        let page = format!("<script type=importmap>{junk}</script>");
        assert!(Dialect::Html.rewrite(&page, &mut Silent).is_err(), "{junk}");
    }
}

#[test]
fn a_base_comes_with_what_stands_behind_it() {
    struct Bases(Vec<Option<String>>);
    impl Links for Bases {
        fn reference(&mut self, reference: Reference<'_>) -> Option<String> {
            self.0.push(reference.base.map(str::to_owned));
            None
        }
        fn integrity(&mut self, _: Reference<'_>) -> Option<String> {
            None
        }
    }
    let mut bases = Bases(Vec::new());
    let html = "<base href='/app/'><base href='/no/'><img src=a.png style='a:url(b)'>";
    Dialect::Html.rewrite(html, &mut bases).expect("a page");
    assert_eq!(bases.0, vec![Some("/app/".to_owned()); 2]);
}

#[test]
fn pictures_of_a_web_manifest() {
    table(
        Dialect::WebManifest,
        &[
            (
                r#"{ "start_url": "x.html", "icons": [ {"src" : "\/i\/x.png", "new": 1 } ] }"#,
                r#"{ "start_url": "x.html", "icons": [ {"src" : "/i/X.y", "new": 1 } ] }"#,
            ),
            (
                r#"{"shortcuts":[{"icons":[{"src":"x.1"}]}],"screenshots":[{"src":"x.2"}],"icons":[]}"#,
                r#"{"shortcuts":[{"icons":[{"src":"X.y"}]}],"screenshots":[{"src":"X.y"}],"icons":[]}"#,
            ),
            ("{}", "{}"),
        ],
    );
    for junk in ["", "[", "{\"icons\":[{\"src\":1}]}", "{\"icons\":3}"] {
        assert!(Dialect::WebManifest.rewrite(junk, &mut Silent).is_err());
    }
}

#[test]
fn a_style_sheet_that_nests_without_end_is_refused() {
    let deep = "(".repeat(100_000);
    assert!(Dialect::Css.rewrite(&deep, &mut Silent).is_err());
}

#[test]
fn names_tell_the_language() {
    for (path, dialect) in [
        ("/a/INDEX.HTML", Some(Dialect::Html)),
        ("/a.css", Some(Dialect::Css)),
        ("/app.webmanifest", Some(Dialect::WebManifest)),
        ("/manifest.json", Some(Dialect::WebManifest)),
        ("/data.json", None),
        ("/a.js", None),
        ("/html", None),
    ] {
        assert_eq!(Dialect::of(path), dialect, "{path}");
    }
}

proptest! {
    #[test]
    fn nothing_changes_when_nothing_is_exchanged(
        text in "[a-z{}()'\"/*@:;#&<>=!. \\\\\n-]{0,80}",
        tail in "\\PC{0,40}",
    ) {
        for text in [&text, &tail, &format!("{text}url({tail})"), &format!("<img {text} src={tail}>")] {
            let css = Dialect::Css.rewrite(text, &mut Silent);
            prop_assert_eq!(css.as_deref(), Ok(text.as_str()));
            if let Ok(html) = Dialect::Html.rewrite(text, &mut Silent) {
                prop_assert_eq!(&html, text);
            }
            let _ = Dialect::Css.rewrite(text, &mut Capitals::default());
            let _ = Dialect::Html.rewrite(text, &mut Capitals::default());
            let _ = srcset::rewrite(text, None, &mut Capitals::default());
        }
    }

    #[test]
    fn what_is_exchanged_is_found_again(names in proptest::collection::vec("[a-w]{1,5}x\\.png", 0..6)) {
        let css: String = names.iter().map(|name| format!("a{{b:url({name})}}")).collect();
        let rewritten = Dialect::Css.rewrite(&css, &mut Capitals::default()).expect("CSS");
        let mut heard = Capitals::default();
        Dialect::Css.rewrite(&rewritten, &mut heard).expect("CSS");
        let found: Vec<String> = heard.0.into_iter().map(|(_, url)| url).collect();
        prop_assert_eq!(found, vec!["X.y".to_owned(); names.len()]);
    }
}

#[test]
fn nothing_in_a_drawing_runs_or_asks_another_host() {
    let head = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 8 8\"";
    let rewrite = |inner: &str| Dialect::Svg.rewrite(&format!("{head}{inner}"), &mut Silent);
    for (inner, gone) in [
        (" onload=\"steal()\"><path d=\"M0 0\"/></svg>", "steal"),
        ("><script>steal()</script><path d=\"M0 0\"/></svg>", "steal"),
        (
            "><a href=\"javascript:steal()\"><path d=\"M0 0\"/></a></svg>",
            "steal",
        ),
        (
            "><image href=\"https://evil.example/x.png\"/><path d=\"M0 0\"/></svg>",
            "evil",
        ),
        (
            "><style>@import url(//evil.example/x.css);</style><path d=\"M0 0\"/></svg>",
            "@import",
        ),
        (
            "><foreignObject><iframe src=\"https://evil.example\"/></foreignObject><path d=\"M0 0\"/></svg>",
            "evil",
        ),
    ] {
        let safe = rewrite(inner).expect("it is a drawing");
        assert!(!safe.contains(gone) && safe.contains("M0 0"), "{safe}");
        let again = Dialect::Svg.rewrite(&safe, &mut Silent);
        assert_eq!(again.as_deref(), Ok(&*safe), "it is done once");
    }
    // What draws stays, the letters among it as they stand.
    let drawn = rewrite(
        " class=\"a\"><style>.a{fill:red}</style><text x=\"1\">be<tspan>ll</tspan></text></svg>",
    );
    let drawn = drawn.expect("it is a drawing");
    for kept in ["viewBox=\"0 0 8 8\"", ".a{fill:red}", "be<tspan>ll</tspan>"] {
        assert!(drawn.contains(kept), "{drawn}");
    }
    for junk in ["", "<svg", "<html/>", "no drawing"] {
        assert!(Dialect::Svg.rewrite(junk, &mut Silent).is_err(), "{junk}");
    }
}
