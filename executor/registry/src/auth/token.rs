//! Tokens for one repository from the token server that a registry names (distribution specification, "Token
//! Authentication").

use super::{Endpoint, basic, invalid_response};
use crate::error::RegistryError;
use crate::host::{Origin, Scheme, trusts_realm};
use crate::http::{Request, Transport};
use crate::settings::Auth;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Uri};
use serde::Deserialize;
use std::fmt::Write;

/// The largest response of a token server, in bytes.
const RESPONSE_BYTES_MAX: u64 = 64 * 1024;
/// The OAuth 2 client id.
const CLIENT_ID: &str = "msb";

/// The parameters of a token request.
pub struct TokenRequest<'a> {
    pub endpoint: &'a Endpoint,
    /// The token server's URL.
    pub realm: &'a str,
    /// The token server's name for the registry.
    pub service: Option<&'a str>,
    /// The token servers that the user trusts.
    pub realms: &'a [String],
}

/// Gets a token that allows pulling from one repository and nothing else, whatever scope the registry names.
pub async fn fetch(
    transport: &Transport,
    registry: &Origin,
    wanted: &TokenRequest<'_>,
    auth: Option<Auth>,
) -> Result<HeaderValue, RegistryError> {
    let TokenRequest { endpoint, realm, service, realms } = wanted;
    let no_url = || {
        let reason = format!("its token server {:?} is not a URL", crate::host::sanitize(realm));
        invalid_response(endpoint, reason)
    };
    let uri: Uri = realm.parse().map_err(|_| no_url())?;
    let origin = Origin::of(&uri).ok_or_else(no_url)?;
    let given = auth.is_some();
    if given && !trusts_realm(registry, &origin, realms) {
        return Err(RegistryError::ForeignRealm { host: endpoint.registry.clone(), realm: origin.name() });
    }
    if given && !transport.may_see_credentials(&origin) {
        return Err(RegistryError::CleartextCredentials { host: origin.name() });
    }
    if registry.scheme == Scheme::Https && !transport.may_see_credentials(&origin) {
        return Err(invalid_response(endpoint, format!("its token server {} has no TLS", origin.name())));
    }
    let scope = format!("repository:{}:pull", endpoint.repository);
    let mut parameters = vec![("scope", scope.as_str())];
    parameters.extend(service.map(|service| ("service", service)));
    let mut request = Request { what: "a token".to_owned(), ..Request::default() };
    let uri = match &auth {
        Some(Auth::IdentityToken(token)) => {
            parameters.extend([("grant_type", "refresh_token"), ("client_id", CLIENT_ID)]);
            parameters.push(("refresh_token", token.reveal()));
            request.method = Method::POST;
            request.body = Bytes::from(form(&parameters));
            let value = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers.push((CONTENT_TYPE, value));
            uri
        }
        auth => {
            if let Some(Auth::Password { username, password }) = auth {
                request.authorization = Some(basic(username, password));
            }
            let separator = if uri.query().is_some() { '&' } else { '?' };
            format!("{}{separator}{}", realm.split('#').next().unwrap_or_default(), form(&parameters))
                .parse()
                .map_err(|_| no_url())?
        }
    };
    let response = transport.send(uri, &request).await?;
    match response.status().as_u16() {
        200 => {}
        400 | 401 | 403 => {
            return Err(endpoint.unauthorized(given, response.error_message().await, None));
        }
        _ => return Err(crate::client::unexpected(response).await),
    }
    /// The parts of the response that are read.
    #[derive(Deserialize)]
    struct TokenResponse {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
    }
    let bytes = response.read(RESPONSE_BYTES_MAX).await?;
    let wrong = || invalid_response(endpoint, format!("the token server {} sent none", origin.name()));
    let TokenResponse { token, access_token } = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    let token = if token.is_empty() { access_token } else { token };
    if token.is_empty() {
        return Err(wrong());
    }
    HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| wrong())
}

/// Encodes parameters as `application/x-www-form-urlencoded`.
fn form(parameters: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        let separator = if text.is_empty() { "" } else { "&" };
        let _ = write!(text, "{separator}{name}=");
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_escaped() {
        assert_eq!(form(&[("a", "b:c/d&e=f ü"), ("g", "")]), "a=b%3Ac%2Fd%26e%3Df%20%C3%BC&g=");
    }
}
