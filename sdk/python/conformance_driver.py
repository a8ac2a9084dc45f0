"""The driver of the conformance kit for this SDK: JSON lines on standard input and output.

`../conformance/README.md` describes the protocol.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from typing import Any

import msb
from conformance_values import decode, encode, of_bytes, to_bytes
from msb import _cbor, _frames


def seconds(step: dict[str, Any], name: str) -> float | None:
    return None if step.get(name) is None else step[name] / 1000


def of_error(error: BaseException) -> dict[str, Any]:
    if isinstance(error, msb.MsbError):
        fields = {"code": error.code, "message": str(error)}
        for name in (
            "hint",
            "name",
            "exit_code",
            "kind",
            "errno",
            "errno_name",
            "stage",
            "path",
            "raw",
            "dropped_from_offset",
        ):
            if getattr(error, name, None) is not None:
                fields[name] = getattr(error, name)
        if isinstance(error, msb.ExecTimeout):
            fields["timeout_ms"] = round(error.timeout * 1000)
            fields["stdout"], fields["stderr"] = of_bytes(error.stdout), of_bytes(error.stderr)
        return fields
    if isinstance(error, _cbor.CborError):
        return {"code": "protocol-error", "message": str(error)}
    if isinstance(error, (TypeError, ValueError)):
        return {"code": "invalid-argument", "message": str(error)}
    return {"code": "unexpected", "message": repr(error)}


def of_metrics(metrics: msb.SandboxMetrics) -> dict[str, Any]:
    names = ("cpu_percent", "memory_bytes", "memory_limit_bytes", "uptime_ms", "timestamp_ms")
    return {name: getattr(metrics, name) for name in names}


def of_entry(entry: msb.LogEntry) -> dict[str, Any]:
    return {
        "timestamp": entry.timestamp.isoformat().replace("+00:00", "Z"),
        "source": entry.source,
        "session_id": entry.session_id,
        "cursor": entry.cursor,
        "data": of_bytes(entry.data),
    }


class Driver:
    def __init__(self) -> None:
        self.client = msb.Client()
        self.objects: dict[str, Any] = {}
        self.sandboxes: dict[str, msb.Sandbox] = {}

    async def handle(self, step: dict[str, Any]) -> dict[str, Any]:
        method = getattr(self, "do_" + step["do"], None)
        if method is None:
            return {"skip": f"there is no {step['do']}"}
        try:
            return {"ok": await method(step) or {}}
        except Exception as error:
            return {"error": of_error(error)}

    async def sandbox(self, name: str) -> msb.Sandbox:
        if name not in self.sandboxes:
            self.sandboxes[name] = await self.client.get(name)
        return self.sandboxes[name]

    async def conn(self, step: dict[str, Any]) -> Any:
        return self.objects[step["agent"]] if "agent" in step else await self.sandbox(step["sandbox"])

    async def do_reset(self, _step: dict[str, Any]) -> None:
        for thing in [*self.objects.values(), *self.sandboxes.values()]:
            if isinstance(thing, (msb.AgentClient, msb.Sandbox)):
                await thing.close()
        self.objects.clear()
        self.sandboxes.clear()

    # Sandboxes.

    def creation(self, step: dict[str, Any]) -> dict[str, Any]:
        options = {
            key: step[key]
            for key in (
                "env",
                "labels",
                "workdir",
                "user",
                "hostname",
                "scripts",
                "replace",
                "command",
                "restart",
                "cpus",
            )
            if key in step
        }
        if "memory_mib" in step:
            options["memory"] = step["memory_mib"]
        for name in ("replace_with_timeout", "max_duration", "idle_timeout"):
            if f"{name}_ms" in step:
                options[name] = step[f"{name}_ms"] / 1000
        if "ports" in step:
            options["ports"] = [msb.Port(**port) for port in step["ports"]]
        if "network" in step:
            options["network"] = msb.Network(**step["network"])
        if "volumes" in step:
            options["volumes"] = {path: self.mount(dict(mount)) for path, mount in step["volumes"].items()}
        return options

    def mount(self, mount: dict[str, Any]) -> msb.Mount:
        if mount.pop("tmpfs", False):
            return msb.Mount.tmpfs(**mount)
        if "named" in mount:
            return msb.Mount.named(mount.pop("named"), **mount)
        return msb.Mount.bind(mount.pop("bind"), **mount)

    async def made(self, sandbox: msb.Sandbox) -> dict[str, Any]:
        old = self.sandboxes.get(sandbox.name)
        if old:
            await old.close()
        self.sandboxes[sandbox.name] = sandbox
        return {"name": sandbox.name, "status": sandbox.status}

    async def do_create(self, step: dict[str, Any]) -> Any:
        return await self.made(await self.client.create(step["name"], image=step["image"], **self.creation(step)))

    async def do_connect_or_create(self, step: dict[str, Any]) -> Any:
        creation = self.creation(step)
        return await self.made(await self.client.connect_or_create(step["name"], image=step["image"], **creation))

    async def do_get(self, step: dict[str, Any]) -> Any:
        found = await self.client.get(step["name"])
        ports = [vars(port) for port in found.ports]
        return {"name": found.name, "status": found.status, "labels": found.labels, "ports": ports}

    async def do_list(self, step: dict[str, Any]) -> Any:
        return {"names": [sandbox.name for sandbox in await self.client.list(labels=step.get("labels"))]}

    async def lifecycle(self, step: dict[str, Any], *arguments: Any) -> Any:
        sandbox = await self.sandbox(step["sandbox"])
        await getattr(sandbox, step["do"])(*arguments)
        return {"status": sandbox.status}

    do_start = do_kill = do_restart = do_pause = do_resume = lifecycle

    async def do_stop(self, step: dict[str, Any]) -> Any:
        return await self.lifecycle(step, seconds(step, "timeout_ms"))

    async def do_remove(self, step: dict[str, Any]) -> None:
        await (await self.sandbox(step["sandbox"])).remove(force=step.get("force", False))
        self.sandboxes.pop(step["sandbox"], None)

    async def do_wait(self, step: dict[str, Any]) -> Any:
        status = await (await self.sandbox(step["sandbox"])).wait(seconds(step, "timeout_ms"))
        return {"exit_code": status.exit_code}

    async def do_wait_for_status(self, step: dict[str, Any]) -> Any:
        sandbox = await self.sandbox(step["sandbox"])
        return {"status": await sandbox.wait_for_status(step["status"], seconds(step, "timeout_ms"))}

    async def do_scope(self, step: dict[str, Any]) -> Any:
        sandbox = await self.client.get(step["sandbox"])
        sandbox.owned = True
        async with sandbox:
            output = await sandbox.shell(step["cmd"])
        return {"stdout": of_bytes(output.stdout), "status": (await sandbox.refresh()).status}

    # Commands.

    def exec_options(self, step: dict[str, Any]) -> dict[str, Any]:
        options = {key: step[key] for key in ("cwd", "user", "env", "tty", "rows", "cols") if key in step}
        if "rlimits" in step:
            options["rlimits"] = [msb.Rlimit(**limit) for limit in step["rlimits"]]
        return options

    def of_output(self, output: msb.ExecOutput) -> dict[str, Any]:
        streams = {"stdout": of_bytes(output.stdout), "stderr": of_bytes(output.stderr)}
        return {"exit_code": output.exit_code, "signal": output.signal, **streams}

    async def do_exec(self, step: dict[str, Any]) -> Any:
        options = self.exec_options(step)
        if "stdin" in step:
            options["stdin"] = to_bytes(step["stdin"])
        if "timeout_ms" in step:
            options["timeout"] = step["timeout_ms"] / 1000
        conn = await self.conn(step)
        if "script" in step:
            return self.of_output(await conn.shell(step["script"], **options))
        return self.of_output(await conn.exec(step["cmd"], step.get("args"), **options))

    do_shell = do_exec

    async def do_exec_start(self, step: dict[str, Any]) -> Any:
        options = self.exec_options(step)
        if step.get("stdin_pipe"):
            options["stdin"] = msb.PIPE
        process = await (await self.conn(step)).exec_stream(step["cmd"], step.get("args"), **options)
        self.objects[step["as"]] = process
        return {"pid": process.pid}

    async def do_exec_write(self, step: dict[str, Any]) -> None:
        await self.objects[step["process"]].stdin.write(to_bytes(step["data"]))

    async def do_exec_eof(self, step: dict[str, Any]) -> None:
        await self.objects[step["process"]].stdin.close()

    async def do_exec_read(self, step: dict[str, Any]) -> Any:
        stream = getattr(self.objects[step["process"]], step.get("stream", "stdout"))
        until, read = step.get("until_text"), bytearray()
        while until is not None and until.encode() not in read or until is None and len(read) < step["until_len"]:
            part = await stream.read(4096 if until is not None else step["until_len"] - len(read))
            if not part:
                break
            read += part
        return {"data": of_bytes(bytes(read))}

    async def do_exec_events(self, step: dict[str, Any]) -> Any:
        kinds: list[str] = []
        code = None
        async for event in self.objects[step["process"]]:
            if not kinds or kinds[-1] != event.kind:
                kinds.append(event.kind)
            code = event.exit_code if event.kind == "exited" else code
        return {"kinds": kinds, "exit_code": code}

    async def do_exec_wait(self, step: dict[str, Any]) -> Any:
        status = await self.objects[step["process"]].wait(seconds(step, "timeout_ms"))
        return {"exit_code": status.exit_code, "signal": status.signal}

    async def do_exec_signal(self, step: dict[str, Any]) -> None:
        await self.objects[step["process"]].signal(step["signal"])

    async def do_exec_kill(self, step: dict[str, Any]) -> None:
        await self.objects[step["process"]].kill()

    async def do_exec_resize(self, step: dict[str, Any]) -> None:
        await self.objects[step["process"]].resize(step["rows"], step["cols"])

    async def do_exec_cancel(self, step: dict[str, Any]) -> Any:
        task = asyncio.ensure_future((await self.conn(step)).exec(step["cmd"], step["args"]))
        await asyncio.sleep(step["after_ms"] / 1000)
        began = time.monotonic()
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return {"cancelled": True, "took_ms": round((time.monotonic() - began) * 1000)}
        return {"cancelled": False}

    async def do_exec_many(self, step: dict[str, Any]) -> Any:
        conn, turns = await self.conn(step), asyncio.Semaphore(step["concurrency"])

        async def one() -> tuple[bool, float]:
            async with turns:
                began = time.monotonic()
                success = (await conn.exec(step["cmd"], step["args"])).success
                return success, time.monotonic() - began

        began = time.monotonic()
        done = await asyncio.gather(*(one() for _ in range(step["count"])))
        took_ms = round((time.monotonic() - began) * 1000)
        middle = statistics.median(took for _, took in done)
        return {"ok": sum(ok for ok, _ in done), "took_ms": took_ms, "p50_us": round(middle * 1_000_000)}

    # Files.

    async def fs(self, step: dict[str, Any]) -> msb.Files:
        return (await self.conn(step)).fs

    async def do_fs_write(self, step: dict[str, Any]) -> None:
        await (await self.fs(step)).write(step["path"], to_bytes(step["data"]), mode=step.get("mode"))

    async def do_fs_read(self, step: dict[str, Any]) -> Any:
        return {"data": of_bytes(await (await self.fs(step)).read(step["path"]))}

    async def do_fs_read_text(self, step: dict[str, Any]) -> Any:
        return {"text": await (await self.fs(step)).read_text(step["path"])}

    async def do_fs_write_stream(self, step: dict[str, Any]) -> None:
        async with (await self.fs(step)).write_stream(step["path"]) as writer:
            for chunk in step["chunks"]:
                await writer.write(to_bytes(chunk))

    async def do_fs_read_stream(self, step: dict[str, Any]) -> Any:
        chunks = [chunk async for chunk in (await self.fs(step)).read_stream(step["path"])]
        return {"data": of_bytes(b"".join(chunks)), "chunks": len(chunks)}

    async def do_fs_list(self, step: dict[str, Any]) -> Any:
        entries = await (await self.fs(step)).list(step["path"])
        return {"entries": [{"name": entry.name, "kind": entry.kind, "size": entry.size} for entry in entries]}

    async def do_fs_mkdir(self, step: dict[str, Any]) -> None:
        await (await self.fs(step)).mkdir(step["path"])

    async def do_fs_remove(self, step: dict[str, Any]) -> None:
        await (await self.fs(step)).remove(step["path"])

    async def do_fs_remove_dir(self, step: dict[str, Any]) -> None:
        await (await self.fs(step)).remove_dir(step["path"])

    async def do_fs_stat(self, step: dict[str, Any]) -> Any:
        stat = await (await self.fs(step)).stat(step["path"], follow=step.get("follow", False))
        return {"kind": stat.kind, "size": stat.size, "mode": stat.mode, "modified_ms": stat.modified_ns // 1_000_000}

    async def do_fs_copy(self, step: dict[str, Any]) -> None:
        await (await self.fs(step)).copy(step["path"], step["to"])

    async def do_fs_rename(self, step: dict[str, Any]) -> None:
        await (await self.fs(step)).rename(step["path"], step["to"])

    async def do_fs_exists(self, step: dict[str, Any]) -> Any:
        return {"exists": await (await self.fs(step)).exists(step["path"])}

    async def do_copy_from_host(self, step: dict[str, Any]) -> None:
        await (await self.sandbox(step["sandbox"])).fs.copy_from_host(step["host"], step["guest"])

    async def do_copy_to_host(self, step: dict[str, Any]) -> None:
        await (await self.sandbox(step["sandbox"])).fs.copy_to_host(step["guest"], step["host"])

    # Logs and metrics.

    async def do_logs(self, step: dict[str, Any]) -> Any:
        options = {key: step[key] for key in ("tail", "sources", "cursor") if key in step}
        return {"entries": [of_entry(entry) for entry in await (await self.sandbox(step["sandbox"])).logs(**options)]}

    async def do_log_stream(self, step: dict[str, Any]) -> Any:
        options = {key: step[key] for key in ("follow", "sources", "cursor") if key in step}
        entries: list[Any] = []
        async with (await self.sandbox(step["sandbox"])).log_stream(**options) as stream:
            async for entry in stream:
                entries.append(of_entry(entry))
                if len(entries) == step["count"]:
                    break
        return {"entries": entries}

    async def do_metrics(self, step: dict[str, Any]) -> Any:
        return of_metrics(await (await self.sandbox(step["sandbox"])).metrics())

    async def do_metrics_all(self, _step: dict[str, Any]) -> Any:
        return {"names": sorted(await self.client.all_metrics())}

    async def do_metrics_stream(self, step: dict[str, Any]) -> Any:
        samples: list[Any] = []
        async with (await self.sandbox(step["sandbox"])).metrics_stream(step["interval_ms"] / 1000) as stream:
            async for sample in stream:
                samples.append(of_metrics(sample))
                if len(samples) == step["count"]:
                    break
        return {"samples": samples}

    # Volumes, images, snapshots, projects.

    async def do_volume_create(self, step: dict[str, Any]) -> Any:
        made = await self.client.volumes.create(step["name"], size_mib=step.get("size_mib"), kind=step.get("kind"))
        return {"name": made.name, "kind": made.kind}

    async def do_volume_get(self, step: dict[str, Any]) -> Any:
        found = await self.client.volumes.get(step["name"])
        return {"name": found.name, "kind": found.kind}

    async def do_volume_list(self, _step: dict[str, Any]) -> Any:
        return {"names": [volume.name for volume in await self.client.volumes.list()]}

    async def do_volume_remove(self, step: dict[str, Any]) -> None:
        await self.client.volumes.remove(step["name"])

    async def do_snapshot_create(self, step: dict[str, Any]) -> Any:
        return {"name": (await self.client.snapshots.create(step["sandbox"], step["name"])).name}

    async def do_snapshot_list(self, _step: dict[str, Any]) -> Any:
        return {"names": [snapshot.name for snapshot in await self.client.snapshots.list()]}

    async def do_snapshot_remove(self, step: dict[str, Any]) -> None:
        await self.client.snapshots.remove(step["name"])

    async def do_image_list(self, _step: dict[str, Any]) -> Any:
        return {"count": len(await self.client.images.list())}

    async def do_project_plan(self, step: dict[str, Any]) -> Any:
        plan = await self.client.project(step["path"]).plan(trust=step.get("trust", False))
        return {"changes": [{"name": change["name"], "action": change["action"]} for change in plan.changes]}

    async def do_project_up(self, step: dict[str, Any]) -> Any:
        kinds: list[str] = []
        async with self.client.project(step["path"]).up(trust=step.get("trust", False)) as run:
            async for event in run:
                if not kinds or kinds[-1] != event["event"]:
                    kinds.append(event["event"])
        return {"events": kinds, "ok": (run.summary or {}).get("ok")}

    async def do_project_down(self, step: dict[str, Any]) -> Any:
        return {"ok": (await (await self.client.project(step["path"]).down()).wait()).get("ok")}

    # Raw connections.

    async def do_agent_connect(self, step: dict[str, Any]) -> Any:
        limit = {"timeout": step["timeout_ms"] / 1000} if "timeout_ms" in step else {}
        if "sandbox" in step:
            agent = await msb.AgentClient.connect_sandbox(step["sandbox"], client=self.client, **limit)
        else:
            agent = await msb.AgentClient.connect(step["path"], **limit)
        self.objects[step["as"]] = agent
        ready = {"agent_version": agent.ready().agent_version, "features": list(agent.ready().features)}
        return {"ready": ready, "ready_hex": agent.ready_bytes.hex(), "ids": [agent.ids.start, agent.ids.stop]}

    def frame(self, step: dict[str, Any], id: int = 0) -> msb.Frame:
        return msb.Frame.of(step["type"], decode(step["payload"]), flags=step["flags"], id=id)

    def of_frame(self, frame: msb.Frame) -> dict[str, Any]:
        message = frame.message()
        return {"id": frame.id, "flags": frame.flags, "type": message.kind, "payload": encode(message.payload)}

    async def do_agent_request(self, step: dict[str, Any]) -> Any:
        return self.of_frame(await self.objects[step["agent"]].request(self.frame(step)))

    async def do_agent_stream(self, step: dict[str, Any]) -> Any:
        stream = self.objects[step["as"]] = await self.objects[step["agent"]].stream(self.frame(step))
        return {"id": stream.id}

    async def do_agent_next(self, step: dict[str, Any]) -> Any:
        frame = await self.objects[step["stream"]].next()
        return {"end": True} if frame is None else self.of_frame(frame)

    async def do_agent_forget(self, step: dict[str, Any]) -> None:
        await self.objects.pop(step["stream"]).close()

    async def do_agent_send(self, step: dict[str, Any]) -> None:
        await self.objects[step["agent"]].send(self.frame(step, self.objects[step["stream"]].id))

    async def do_agent_close(self, step: dict[str, Any]) -> None:
        await self.objects[step["agent"]].close()

    # Codec.

    async def do_cbor_encode(self, step: dict[str, Any]) -> Any:
        return {"hex": _cbor.dumps(decode(step["value"])).hex()}

    async def do_cbor_decode(self, step: dict[str, Any]) -> Any:
        return {"value": encode(_cbor.loads(bytes.fromhex(step["hex"])))}

    async def do_frames_decode(self, step: dict[str, Any]) -> Any:
        decoder, data, frames = _frames.FrameDecoder(), bytes.fromhex(step["hex"]), []
        for at in range(0, len(data), step["chunk"]):
            decoder.feed(data[at : at + step["chunk"]])
            while frame := decoder.next():
                frames.append({"id": frame.id, "flags": frame.flags, "body_len": len(frame.body)})
        return {"frames": frames}


async def main() -> None:
    driver = Driver()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        step = json.loads(line)
        answer = {"id": step["id"], **await driver.handle(step)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    await driver.do_reset({})


if __name__ == "__main__":
    os.umask(0o077)
    asyncio.run(main())
