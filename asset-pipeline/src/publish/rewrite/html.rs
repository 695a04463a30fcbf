//! URLs of pages: of what a page loads, in attributes, inline styles, style blocks and import maps.
//!
//! Links that people follow (`a`, `form`, `iframe`) are left alone: they are pages, here or at the
//! origin. `rel=manifest` and `preload as=fetch` keep their names, because browsers or scripts ask
//! for the plain name.

use std::cell::RefCell;

use lol_html::html_content::{ContentType, Element, TextChunk};
use lol_html::{RewriteStrSettings, element, rewrite_str, text};

use super::{Links, Reference, Role, css, entities, import_map, srcset};

type Handled = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Exchanges the URLs of a page.
pub(super) fn rewrite(html: &str, links: &mut dyn Links) -> Result<String, String> {
    let page = RefCell::new(Page {
        links,
        base: None,
        style: String::new(),
        import_map: None,
    });
    let settings = RewriteStrSettings::new()
        .append_element_content_handler(element!("*", |element| page.borrow_mut().element(element)))
        .append_element_content_handler(text!("style", |chunk| page.borrow_mut().style(chunk)))
        .append_element_content_handler(text!("script", |chunk| page.borrow_mut().script(chunk)));
    rewrite_str(html, settings).map_err(|error| error.to_string())
}

struct Page<'a> {
    links: &'a mut dyn Links,
    /// The first `<base href>`.
    base: Option<String>,
    /// The style block that is being read.
    style: String,
    /// The import map that is being read; none in other scripts.
    import_map: Option<String>,
}

impl Page<'_> {
    fn element(&mut self, element: &mut Element<'_, '_>) -> Handled {
        if let Some(style) = element
            .get_attribute("style")
            .filter(|css| css.contains('('))
        {
            let style = entities::decoded(&style);
            let new = css::rewrite(&style, self.base.as_deref(), self.links)?;
            if new != style {
                element.set_attribute("style", &entities::encoded(&new))?;
            }
        }
        match element.tag_name().as_str() {
            "base" if self.base.is_none() => {
                self.base = element
                    .get_attribute("href")
                    .map(|url| entities::decoded(&url));
                Ok(())
            }
            "link" => self.link(element),
            "script" => {
                let kind = element.get_attribute("type").unwrap_or_default();
                let is_map = kind.trim().eq_ignore_ascii_case("importmap");
                self.import_map = is_map.then(String::new);
                let role = match kind.trim().eq_ignore_ascii_case("module") {
                    true => Role::Module,
                    false => Role::Asset,
                };
                self.with_integrity(element, "src", role)
            }
            "img" | "source" => {
                self.url(element, "src", Role::Asset)?;
                self.srcset(element, "srcset")
            }
            "video" => {
                self.url(element, "src", Role::Asset)?;
                self.url(element, "poster", Role::Asset)
            }
            "input" => match element.get_attribute("type") {
                Some(kind) if kind.eq_ignore_ascii_case("image") => {
                    self.url(element, "src", Role::Asset)
                }
                _ => Ok(()),
            },
            "audio" | "embed" | "track" => self.url(element, "src", Role::Asset),
            "object" => self.url(element, "data", Role::Asset),
            "image" | "use" => {
                self.url(element, "href", Role::Asset)?;
                self.url(element, "xlink:href", Role::Asset)
            }
            _ => Ok(()),
        }
    }

    fn link(&mut self, element: &mut Element<'_, '_>) -> Handled {
        let word = |name| {
            let value: Option<String> = element.get_attribute(name);
            value.unwrap_or_default().to_ascii_lowercase()
        };
        let (rel, target) = (word("rel"), word("as"));
        let role = rel.split_ascii_whitespace().find_map(|rel| match rel {
            "stylesheet"
            | "icon"
            | "mask-icon"
            | "apple-touch-icon"
            | "apple-touch-icon-precomposed"
            | "apple-touch-startup-image" => Some(Role::Asset),
            "preload" | "prefetch" => match target.as_str() {
                "font" | "image" | "style" | "video" | "audio" | "track" => Some(Role::Asset),
                "script" => Some(Role::Hint),
                "" => None,
                _ => Some(Role::Fixed),
            },
            "modulepreload" => Some(Role::Hint),
            "manifest" => Some(Role::Fixed),
            _ => None,
        });
        let Some(role) = role else {
            return Ok(());
        };
        self.with_integrity(element, "href", role)?;
        self.srcset(element, "imagesrcset")
    }

    fn with_integrity(
        &mut self,
        element: &mut Element<'_, '_>,
        attribute: &str,
        role: Role,
    ) -> Handled {
        if element.has_attribute("integrity")
            && let Some(url) = element.get_attribute(attribute)
        {
            let url = entities::decoded(&url);
            let reference = Reference {
                base: self.base.as_deref(),
                url: &url,
                role,
            };
            if let Some(new) = self.links.integrity(reference) {
                element.set_attribute("integrity", &new)?;
            }
        }
        self.url(element, attribute, role)
    }

    fn url(&mut self, element: &mut Element<'_, '_>, attribute: &str, role: Role) -> Handled {
        let Some(url) = element.get_attribute(attribute) else {
            return Ok(());
        };
        let url = entities::decoded(&url);
        let reference = Reference {
            base: self.base.as_deref(),
            url: &url,
            role,
        };
        if let Some(new) = self.links.reference(reference) {
            element.set_attribute(attribute, &entities::encoded(&new))?;
        }
        Ok(())
    }

    fn srcset(&mut self, element: &mut Element<'_, '_>, attribute: &str) -> Handled {
        let Some(value) = element.get_attribute(attribute) else {
            return Ok(());
        };
        let value = entities::decoded(&value);
        let new = srcset::rewrite(&value, self.base.as_deref(), self.links);
        if new != value {
            element.set_attribute(attribute, &entities::encoded(&new))?;
        }
        Ok(())
    }

    /// The text of scripts stays as it is, but for import maps.
    fn script(&mut self, chunk: &mut TextChunk<'_>) -> Handled {
        let Some(map) = &mut self.import_map else {
            return Ok(());
        };
        map.push_str(chunk.as_str());
        if !chunk.last_in_text_node() {
            chunk.remove();
            return Ok(());
        }
        let map = self.import_map.take().unwrap_or_default();
        let new = import_map::rewrite(&map, self.base.as_deref(), self.links)?;
        chunk.replace(&new, ContentType::Html);
        Ok(())
    }

    /// A style block comes in pieces; its text has no character references.
    fn style(&mut self, chunk: &mut TextChunk<'_>) -> Handled {
        self.style.push_str(chunk.as_str());
        if !chunk.last_in_text_node() {
            chunk.remove();
            return Ok(());
        }
        let style = std::mem::take(&mut self.style);
        let new = css::rewrite(&style, self.base.as_deref(), self.links)?;
        chunk.replace(&new, ContentType::Html);
        Ok(())
    }
}
