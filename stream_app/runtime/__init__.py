"""One task run live, without any client library: shell, runner, epoch, pacing, and the ports they speak through."""
