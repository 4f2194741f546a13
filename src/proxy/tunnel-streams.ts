// Bytes both ways between two connections until both sides have ended, with back-pressure. A side that ends while the other goes on is
// passed on as that; a side that breaks takes the other with it.

import type { Duplex } from 'node:stream';

export interface StreamTunnel {
  /** Says a last word to each side, where one may be said, and ends both directions. Nothing is passed on from then on. */
  end(last: { readonly client: Buffer | null; readonly target: Buffer | null }): void;
  /** Breaks both sides off. */
  destroy(): void;
}

export interface StreamTunnelOptions {
  readonly client: Duplex;
  readonly target: Duplex;
  /** Called for every piece, before it is passed on. */
  readonly onData: (from: 'client' | 'target', chunk: Buffer) => void;
  /** Called once, when both directions are over. */
  readonly onEnd: () => void;
}

export function tunnelStreams(options: StreamTunnelOptions): StreamTunnel {
  const { client, target } = options;
  let closed = 0;
  let ending = false;
  const pump = (from: Duplex, to: Duplex, side: 'client' | 'target'): void => {
    from.on('data', (chunk: Buffer) => {
      if (ending) return;
      options.onData(side, chunk);
      if (to.writable && !to.write(chunk)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('end', () => {
      if (to.writable) to.end();
    });
    // The close event follows and does the rest.
    from.on('error', () => undefined);
    from.on('close', () => {
      if (!from.readableEnded) to.destroy();
      closed += 1;
      if (closed === 2) options.onEnd();
    });
    from.resume();
  };
  pump(client, target, 'client');
  pump(target, client, 'target');
  const endWith = (side: Duplex, last: Buffer | null): void => {
    if (!side.writable) return;
    if (last === null) side.end();
    else side.end(last);
    side.resume();
  };
  return {
    end: (last) => {
      if (ending) return;
      ending = true;
      endWith(client, last.client);
      endWith(target, last.target);
    },
    destroy: () => {
      client.destroy();
      target.destroy();
    },
  };
}
