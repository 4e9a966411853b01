//! The grammar: which braces are placeholders, and which look like a mistake.

use std::fmt;

use crate::config::spelling::nearest;

/// What a placeholder asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// `{port}`: the main port.
    Port,
    /// `{port.NAME}`: a further port, by name.
    NamedPort(String),
    /// `{host}`.
    Host,
    /// `{addr}`: `host:port`.
    Addr,
    /// `{data_dir}`: the instance's own directory.
    DataDir,
    /// `{clnrm}`: the path of the running clnrm.
    Clnrm,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// `cache` in `{cache.port}`; `None` = the instance itself.
    pub service: Option<String>,
    pub property: Property,
}

/// As it is written between the braces.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(service) = &self.service {
            write!(f, "{service}.")?;
        }
        match &self.property {
            Property::Port => f.write_str("port"),
            Property::NamedPort(name) => write!(f, "port.{name}"),
            Property::Host => f.write_str("host"),
            Property::Addr => f.write_str("addr"),
            Property::DataDir => f.write_str("data_dir"),
            Property::Clnrm => f.write_str("clnrm"),
        }
    }
}

impl Placeholder {
    /// Whether it says where a service is reached.
    pub(crate) fn is_address(&self) -> bool {
        !matches!(self.property, Property::DataDir | Property::Clnrm)
    }

    /// Whether it needs a main port.
    pub(crate) fn needs_main_port(&self) -> bool {
        matches!(self.property, Property::Port | Property::Addr)
    }
}

/// Something in braces that was probably meant as a placeholder, and what it was probably meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NearMiss {
    /// Without its braces.
    pub(crate) written: String,
    /// Without its braces; `None` = nothing is close.
    pub(crate) meant: Option<String>,
}

/// Misspelled placeholders: an unknown property of a known service, or nearly a bare placeholder.
pub(crate) fn near_misses(text: &str, services: &[&str]) -> Vec<NearMiss> {
    let bodies = segments(text)
        .into_iter()
        .filter_map(|segment| match segment {
            Segment::Braced(body) if parse(body).is_none() => Some(body),
            _ => None,
        });
    bodies
        .filter_map(|body| near_miss(body, services))
        .collect()
}

const SERVICE_PROPERTIES: [&str; 4] = ["port", "host", "addr", "data_dir"];

fn near_miss(body: &str, services: &[&str]) -> Option<NearMiss> {
    let of_service = services.iter().find_map(|service| {
        let property = body.strip_prefix(service)?.strip_prefix('.')?;
        let meant = nearest(property, SERVICE_PROPERTIES);
        Some(meant.map(|property| format!("{service}.{property}")))
    });
    let meant = match of_service {
        Some(meant) => meant,
        None => Some(nearly_bare(body)?.to_owned()),
    };
    Some(NearMiss {
        written: body.to_owned(),
        meant,
    })
}

/// Stricter than [`nearest`]: `{post}`, `{part}`, `{hosts}` and `{print}` are ordinary words in other languages' braces.
/// A short word must have the same letters (`{prot}`), a long one may be off by one (`{datadir}`).
fn nearly_bare(body: &str) -> Option<&'static str> {
    let lower = body.to_ascii_lowercase();
    let mut letters: Vec<char> = lower.chars().collect();
    letters.sort_unstable();
    let same_letters = |known: &str| {
        let mut known: Vec<char> = known.chars().collect();
        known.sort_unstable();
        known == letters
    };
    let known = SERVICE_PROPERTIES.into_iter().chain(["clnrm"]);
    known.into_iter().find(|known| {
        let edits = strsim::damerau_levenshtein(&lower, known);
        edits == 0 || (edits == 1 && (known.len() > 4 || same_letters(known)))
    })
}

pub(super) enum Segment<'t> {
    Literal(&'t str),
    /// `{body}` where the body has a placeholder's characters.
    Braced(&'t str),
}

pub(super) fn segments(text: &str) -> Vec<Segment<'_>> {
    let from = |start: usize| text.get(start..).unwrap_or_default();
    let mut segments = Vec::new();
    let mut literal_start = 0;
    let mut position = 0;
    while let Some(distance) = from(position).find('{') {
        let open = position + distance;
        let after = from(open + 1);
        if after.starts_with('{') {
            let end = after.find("}}").map_or(1, |close| close + 2);
            position = open + 1 + end;
            continue;
        }
        position = open + 1;
        let before = text.get(literal_start..open).unwrap_or_default();
        let body = after.split_once('}').map(|(body, _)| body);
        let Some(body) = body.filter(|body| is_body(body) && !before.ends_with(['$', '%', '#']))
        else {
            continue;
        };
        segments.push(Segment::Literal(before));
        segments.push(Segment::Braced(body));
        position = open + body.len() + 2;
        literal_start = position;
    }
    segments.push(Segment::Literal(from(literal_start)));
    segments
}

fn is_body(body: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !body.is_empty() && body.chars().all(allowed)
}

pub(super) fn parse(body: &str) -> Option<Placeholder> {
    let Some((before, last)) = body.rsplit_once('.') else {
        let property = bare_property(body)?;
        return Some(Placeholder {
            service: None,
            property,
        });
    };
    let (service, property) = match service_property(last) {
        // A service cannot be called `port`: this is a further port of the instance itself.
        _ if last.is_empty() => return None,
        Some(property) if before != "port" => (Some(before), property),
        _ if before == "port" => (None, Property::NamedPort(last.to_owned())),
        _ => {
            let service = before.strip_suffix(".port")?;
            (Some(service), Property::NamedPort(last.to_owned()))
        }
    };
    if service.is_some_and(str::is_empty) {
        return None;
    }
    Some(Placeholder {
        service: service.map(str::to_owned),
        property,
    })
}

fn service_property(word: &str) -> Option<Property> {
    Some(match word {
        "port" => Property::Port,
        "host" => Property::Host,
        "addr" => Property::Addr,
        "data_dir" => Property::DataDir,
        _ => return None,
    })
}

fn bare_property(word: &str) -> Option<Property> {
    match word {
        "clnrm" => Some(Property::Clnrm),
        _ => service_property(word),
    }
}

/// All placeholders in a text, in order.
pub fn placeholders_in(text: &str) -> Vec<Placeholder> {
    segments(text)
        .into_iter()
        .filter_map(|segment| match segment {
            Segment::Braced(body) => parse(body),
            Segment::Literal(_) => None,
        })
        .collect()
}

/// Makes the bare placeholders of a step's text belong to `service`: `{port}` becomes `{cache.port}`.
pub(crate) fn qualify(text: &str, service: &str) -> String {
    let qualified = rewrite(text, |body, placeholder| {
        let bare = placeholder.service.is_none() && placeholder.property != Property::Clnrm;
        Ok::<_, std::convert::Infallible>(if bare {
            format!("{{{service}.{body}}}")
        } else {
            format!("{{{body}}}")
        })
    });
    match qualified {
        Ok(text) => text,
    }
}

pub(super) fn rewrite<E>(
    text: &str,
    mut replace: impl FnMut(&str, Placeholder) -> Result<String, E>,
) -> Result<String, E> {
    let mut result = String::with_capacity(text.len());
    for segment in segments(text) {
        match segment {
            Segment::Literal(literal) => result.push_str(literal),
            Segment::Braced(body) => match parse(body) {
                Some(placeholder) => result.push_str(&replace(body, placeholder)?),
                None => {
                    result.push('{');
                    result.push_str(body);
                    result.push('}');
                }
            },
        }
    }
    Ok(result)
}
