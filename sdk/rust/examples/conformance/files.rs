//! Steps of files.

use crate::values::{of_bytes, to_bytes};
use crate::{Answer, Driver, Failure, Step};
use msb_sdk::WriteOptions;
use serde_json::{Value, json};

impl Driver {
    pub async fn file_step(&mut self, name: &str, step: &Step) -> Answer {
        let (files, path) = (self.files(step).await?, step.text("path"));
        match name {
            "fs_write" => {
                let mode = step.number("mode").map(|mode| mode as u32);
                let options = WriteOptions { mode, ..WriteOptions::default() };
                files.write_with(path, to_bytes(step.value("data")), options).await?;
            }
            "fs_read" => return Ok(json!({ "data": of_bytes(&files.read(path).await?) })),
            "fs_read_text" => return Ok(json!({ "text": files.read_text(path).await? })),
            "fs_write_stream" => {
                let mut writer = files.write_stream(path, WriteOptions::default()).await?;
                for chunk in step.value("chunks").as_array().into_iter().flatten() {
                    writer.write(to_bytes(chunk)).await?;
                }
                writer.close().await?;
            }
            "fs_read_stream" => {
                let mut reader = files.read_stream(path).await?;
                let (mut data, mut chunks) = (Vec::new(), 0);
                while let Some(piece) = reader.next().await? {
                    data.extend(piece);
                    chunks += 1;
                }
                return Ok(json!({ "data": of_bytes(&data), "chunks": chunks }));
            }
            "fs_list" => {
                let entries = files.list(path).await?;
                let entries = entries.iter().map(|entry| {
                    let name = entry.name.to_string_lossy();
                    json!({ "name": name, "kind": entry.stat.kind.as_str(), "size": entry.stat.size })
                });
                return Ok(json!({ "entries": entries.collect::<Vec<Value>>() }));
            }
            "fs_mkdir" => files.mkdir(path).await?,
            "fs_remove" => files.remove(path).await?,
            "fs_remove_dir" => files.remove_dir(path).await?,
            "fs_stat" => {
                let stat = if step.flag("follow") {
                    files.stat_followed(path).await?
                } else {
                    files.stat(path).await?
                };
                let modified_ms = stat.modified_ns / 1_000_000;
                let (kind, size, mode) = (stat.kind.as_str(), stat.size, stat.mode);
                return Ok(json!({ "kind": kind, "size": size, "mode": mode, "modified_ms": modified_ms }));
            }
            "fs_copy" => files.copy(path, step.text("to")).await?,
            "fs_rename" => files.rename(path, step.text("to")).await?,
            "fs_exists" => return Ok(json!({ "exists": files.exists(path).await? })),
            "copy_from_host" => {
                files.copy_from_host(step.text("host"), step.text("guest")).await?;
            }
            "copy_to_host" => {
                files.copy_to_host(step.text("guest"), step.text("host")).await?;
            }
            _ => return Err(Failure::Skip(format!("there is no step {name}"))),
        }
        Ok(json!({}))
    }
}
