//! Steps of volumes, images, snapshots and projects.

use crate::{Answer, Driver, Failure, Step};
use msb_sdk::{DownOptions, UpOptions, VolumeKind, VolumeOptions};
use serde_json::{Value, json};

impl Driver {
    pub async fn storage_step(&mut self, name: &str, step: &Step) -> Answer {
        let client = &self.client;
        match name {
            "volume_create" => {
                let kind = step.optional("kind").map(|kind| match kind {
                    "disk" => VolumeKind::Disk,
                    _ => VolumeKind::Directory,
                });
                let options = VolumeOptions { size_mib: step.number("size_mib"), kind, shared: false };
                let made = client.volumes().create(step.text("name"), options).await?;
                Ok(json!({ "name": made.name, "kind": made.kind }))
            }
            "volume_get" => {
                let found = client.volumes().get(step.text("name")).await?;
                Ok(json!({ "name": found.name, "kind": found.kind }))
            }
            "volume_list" => {
                let all = client.volumes().list().await?;
                Ok(json!({ "names": all.into_iter().map(|volume| volume.name).collect::<Vec<_>>() }))
            }
            "volume_remove" => {
                client.volumes().remove(step.text("name")).await?;
                Ok(json!({}))
            }
            "snapshot_create" => {
                let made = client.snapshots().create(step.text("sandbox"), step.text("name")).await?;
                Ok(json!({ "name": made.name }))
            }
            "snapshot_list" => {
                let all = client.snapshots().list().await?;
                Ok(json!({ "names": all.into_iter().map(|snapshot| snapshot.name).collect::<Vec<_>>() }))
            }
            "snapshot_remove" => {
                client.snapshots().remove(step.text("name")).await?;
                Ok(json!({}))
            }
            "image_list" => Ok(json!({ "count": client.images().list().await?.len() })),
            "project_plan" => {
                let plan = client.project(step.text("path")).plan(step.flag("trust")).await?;
                let changes =
                    plan.changes.iter().map(|change| json!({ "name": change.name, "action": change.action }));
                Ok(json!({ "changes": changes.collect::<Vec<Value>>() }))
            }
            "project_up" => {
                let options = UpOptions { trust: step.flag("trust"), ..UpOptions::default() };
                let mut run = client.project(step.text("path")).up(&options)?;
                let mut kinds: Vec<String> = Vec::new();
                while let Some(event) = run.next().await? {
                    if kinds.last() != Some(&event.kind) {
                        kinds.push(event.kind);
                    }
                }
                let ok = run.summary().map(|summary| summary.fields["ok"].clone());
                Ok(json!({ "events": kinds, "ok": ok }))
            }
            "project_down" => {
                let run = client.project(step.text("path")).down(&DownOptions::default())?;
                let summary = run.wait().await?;
                Ok(json!({ "ok": summary.map(|summary| summary.fields["ok"].clone()) }))
            }
            _ => Err(Failure::Skip(format!("there is no step {name}"))),
        }
    }
}
