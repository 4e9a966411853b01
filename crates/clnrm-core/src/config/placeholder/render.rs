//! Puts the values in.

use std::path::PathBuf;

use super::bindings::Bindings;
use super::error::PlaceholderError;
use super::syntax::{Placeholder, Property, rewrite};

/// Replaces every placeholder by its value.
///
/// # Errors
/// Names the placeholder that has no value.
pub fn render(text: &str, bindings: &Bindings) -> Result<String, PlaceholderError> {
    rewrite(text, |body, placeholder| value(body, placeholder, bindings))
}

pub(super) fn value(
    body: &str,
    placeholder: Placeholder,
    bindings: &Bindings,
) -> Result<String, PlaceholderError> {
    let written = || body.to_owned();
    let path_text = |path: &PathBuf| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| PlaceholderError::NotUtf8 {
            placeholder: written(),
            path: path.clone(),
        })
    };
    if placeholder.property == Property::Clnrm {
        return path_text(&bindings.clnrm);
    }
    let service = placeholder.service.or_else(|| bindings.own.clone());
    let service = service.ok_or_else(|| PlaceholderError::NoService {
        placeholder: written(),
    })?;
    let Some(instance) = bindings.services.get(&service) else {
        if bindings.outside.contains(&service) {
            return Err(PlaceholderError::OutOfReach {
                placeholder: written(),
                service,
            });
        }
        return Err(PlaceholderError::UnknownService {
            placeholder: written(),
            service,
        });
    };
    let port = |port: Option<u16>| {
        port.ok_or_else(|| PlaceholderError::NoPort {
            placeholder: written(),
            service: service.clone(),
        })
    };
    match &placeholder.property {
        Property::Port => Ok(port(instance.port)?.to_string()),
        Property::NamedPort(name) => Ok(port(instance.named_ports.get(name).copied())?.to_string()),
        Property::Host => Ok(instance.host.clone()),
        Property::Addr if instance.host.contains(':') => {
            Ok(format!("[{}]:{}", instance.host, port(instance.port)?))
        }
        Property::Addr => Ok(format!("{}:{}", instance.host, port(instance.port)?)),
        Property::DataDir if bindings.outside.contains(&service) => {
            Err(PlaceholderError::FolderOutside {
                placeholder: written(),
                service,
            })
        }
        Property::DataDir => path_text(&instance.data_dir),
        Property::Clnrm => path_text(&bindings.clnrm),
    }
}
