// Connections whose other end says one line, `ok`, before anything else, once the program behind it has taken the connection. Until then
// nothing has been sent, so whoever dials may still go elsewhere.

import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import { Failure, messageOf } from '../lib/failure.ts';
import type { Reader } from '../sys/reader.ts';
import { awaitLine, Gate } from './await-line.ts';

export const GREETING = 'ok';

/**
 * @param connect opens the connection, read by what it is given; absent: as a stream.
 * @param reader gets what comes behind the greeting. @param where in words, for failures. Throws `unreachable` or `timeout`.
 */
export async function connectGreeted(
  connect: (reader?: Reader) => Promise<Socket>,
  reader: Reader | undefined,
  { timeoutMs, clock, where }: { readonly timeoutMs: number; readonly clock: Clock; readonly where: string },
): Promise<Socket> {
  const beganMs = clock.monotonic();
  const gate = reader === undefined ? null : new Gate();
  const socket = await (gate === null ? connect() : connect(gate));
  return await new Promise((resolve, reject) => {
    const fail = (failure: Failure): void => {
      cancel();
      stop();
      socket.on('error', () => undefined);
      socket.destroy();
      reject(failure);
    };
    const cancel = clock.timer(Math.max(1, timeoutMs - (clock.monotonic() - beganMs)), () =>
      fail(new Failure('timeout', { message: `${where} did not take the connection within ${timeoutMs} ms.` })),
    );
    const stop = awaitLine(socket, gate, {
      onGone: (error) => {
        const why = error === null ? 'it was closed' : messageOf(error);
        fail(new Failure('unreachable', { message: `${where} did not take the connection: ${why}.`, cause: error }));
      },
      onLine: (line, rest) => {
        if (line !== GREETING) return fail(new Failure('unreachable', { message: `${where} did not take the connection.` }));
        cancel();
        if (gate !== null && reader !== undefined) gate.handOver(reader, rest);
        else if (rest.length > 0) socket.unshift(rest);
        resolve(socket);
      },
    });
  });
}
