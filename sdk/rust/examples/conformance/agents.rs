//! Steps of raw connections.

use crate::values::{decode, encode, hex};
use crate::{Answer, Driver, Failure, Step};
use msb_sdk::agent::{Envelope, Flags, Frame};
use msb_sdk::{AgentClient, Error, cbor};
use serde_json::json;
use std::time::Duration;

impl Driver {
    pub async fn agent_step(&mut self, name: &str, step: &Step) -> Answer {
        match name {
            "agent_connect" => self.agent_connect(step).await,
            "agent_request" => {
                let (flags, body) = body(step)?;
                of_frame(&self.agent(step.text("agent"))?.request(flags, &body).await?)
            }
            "agent_stream" => {
                let (flags, body) = body(step)?;
                let stream = self.agent(step.text("agent"))?.stream(flags, &body).await?;
                let id = stream.id();
                self.streams.insert(step.text("as").to_owned(), stream);
                Ok(json!({ "id": id }))
            }
            "agent_next" => {
                let stream = self.streams.get_mut(step.text("stream"));
                match stream.ok_or_else(|| Failure::Skip("no stream".to_owned()))?.next().await? {
                    Some(frame) => of_frame(&frame),
                    None => Ok(json!({ "end": true })),
                }
            }
            "agent_forget" => {
                self.streams.remove(step.text("stream"));
                Ok(json!({}))
            }
            "agent_send" => {
                let (flags, body) = body(step)?;
                let id = self.streams.get(step.text("stream")).map(|stream| stream.id()).unwrap_or_default();
                self.agent(step.text("agent"))?.send(id, flags, &body).await?;
                Ok(json!({}))
            }
            "agent_close" => {
                self.agent(step.text("agent"))?.close().await;
                Ok(json!({}))
            }
            _ => Err(Failure::Skip(format!("there is no step {name}"))),
        }
    }

    async fn agent_connect(&mut self, step: &Step) -> Answer {
        let timeout = step.time("timeout_ms")?.unwrap_or(Duration::from_secs(10));
        let agent = match step.optional("sandbox") {
            Some(name) => AgentClient::connect_sandbox_with_timeout(&self.client, name, timeout).await?,
            None => AgentClient::connect_with_timeout(step.text("path"), timeout).await?,
        };
        let ready = agent.ready();
        let answer = json!({
            "ready": { "agent_version": ready.agent_version, "features": ready.features },
            "ready_hex": hex(agent.ready_bytes()),
            "ids": [agent.ids().start, agent.ids().end],
        });
        self.agents.insert(step.text("as").to_owned(), agent);
        Ok(answer)
    }
}

/// Returns the flags and the body of a step.
fn body(step: &Step) -> Result<(Flags, Vec<u8>), Failure> {
    let flags = Flags(step.number("flags").unwrap_or_default() as u8);
    let payload = cbor::encode(&decode(step.value("payload")))?;
    let body = cbor::encode(&Envelope { v: 1, t: step.text("type").to_owned(), p: payload })?;
    Ok((flags, body))
}

fn of_frame(frame: &Frame) -> Answer {
    let envelope: Envelope = Envelope::decode(frame).map_err(|_| Failure::Skip("no envelope".to_owned()))?;
    let payload = match envelope.p.as_slice() {
        [] | [0xf6] => json!({}),
        bytes => encode(&cbor::decode(bytes).map_err(|error: Error| Failure::Sdk(error))?),
    };
    Ok(json!({ "id": frame.id(), "flags": frame.flags().0, "type": envelope.t, "payload": payload }))
}
