// Package msb runs commands in microVM sandboxes, works with their files, and follows their logs. It is pure Go without
// dependencies: it speaks to running sandboxes over their socket, and runs the program msb for the rest.
//
//	client := msb.NewClient()
//	sandbox, err := client.Create(ctx, "dev", msb.CreateOptions{Image: "alpine", Ephemeral: true})
//	if err != nil {
//		return err
//	}
//	defer sandbox.Close()
//	output, err := sandbox.Exec(ctx, "uname", []string{"-a"})
//
// The end of a context ends what its call has started: a command in the guest gets SIGTERM, and SIGKILL half a second
// later; a run of msb is interrupted.
//
// All errors have a Code, which is the same in the SDKs of all languages: see Error.
package msb
