"""One static Go program for all tests of the supervisor; it is compiled once a session."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = """package main

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// 32 goroutines write 20 files each and count the writes that failed with EIO.
func write(folder string) {
	var wg sync.WaitGroup
	failed := make(chan string, 640)
	for i := 0; i < 32; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			for n := 0; n < 20; n++ {
				name := fmt.Sprintf("%s/g%d-%d", folder, i, n)
				if err := os.WriteFile(name, make([]byte, 100), 0600); err != nil {
					if err.(*os.PathError).Err != syscall.EIO {
						panic(err)
					}
					failed <- name
				}
			}
		}(i)
	}
	wg.Wait()
	fmt.Println(len(failed))
}

func main() {
	switch os.Args[1] {
	case "write":
		write(os.Args[2])
	case "now": // wall clock, and what a second of sleep is by the monotonic clock
		start := time.Now()
		time.Sleep(50 * time.Millisecond)
		fmt.Println(start.Unix(), time.Since(start) > 40*time.Millisecond, time.Since(start) < 30*time.Second)
	case "run": // another program, from 8 goroutines at once
		var wg sync.WaitGroup
		for i := 0; i < 8; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				out, err := exec.Command(os.Args[2], os.Args[3:]...).CombinedOutput()
				if err != nil {
					panic(err)
				}
				os.Stdout.Write(out)
			}()
		}
		wg.Wait()
	}
}
"""


@cache
def program() -> str:
    """The path of the compiled program."""
    go = shutil.which("go")
    assert go
    folder = Path(tempfile.mkdtemp(prefix="backupchaos-go-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "main.go").write_text(SOURCE)
    environment = {**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off", "GOFLAGS": ""}
    subprocess.run(
        [go, "build", "-o", "prog", "main.go"], cwd=folder, env=environment, check=True, timeout=300
    )
    return str(folder / "prog")
