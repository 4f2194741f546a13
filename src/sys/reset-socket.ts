// The end of a connection that nobody shall take for the end of what was said.

import type { Socket } from 'node:net';

/** Resets it (RST). One that has said all it had to say and is just ending ends like that: nothing of it is missing. */
export function resetSocket(socket: Socket): void {
  // While a shutdown is under way the library refuses to reset, and then neither closes the connection nor lets the process end.
  const isEnding = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (socket.destroyed || socket.connecting || isEnding) socket.destroy();
  else socket.resetAndDestroy();
}
