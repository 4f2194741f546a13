// Why a running program is not healthy, seen from outside: where do its processes listen, compared with where they should.

import type { Reason } from '../../model/documents.ts';
import { describeListener, listListening, socketInodes } from '../../sys/listeners.ts';
import type { ListeningSocket } from '../../sys/listeners.ts';
import type { RunSpec } from '../contract.ts';

export type Diagnosis = Pick<Reason, 'code' | 'message' | 'hint'>;

/** True when a connection to `host` reaches a socket bound to `address`. */
function reaches(address: string, host: string): boolean {
  return address === host || address === '::' || address === '0.0.0.0' || (host === 'localhost' && address === '127.0.0.1');
}

export const NO_PORT_HINT = 'See its log. A program without a port needs “listens: false” or another check in the manifest.';

const place = (address: string, port: number): string => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`);

/** @param pids every process of the attempt */
export function diagnoseListening(pids: readonly number[], spec: Pick<RunSpec, 'port' | 'env'>): Diagnosis | null {
  const { port } = spec;
  const first = pids[0];
  if (port === null || first === undefined) return null;
  const host = spec.env['HOST'] ?? '127.0.0.1';
  const inodes = new Set(pids.flatMap((pid) => [...socketInodes(pid)]));
  const own = listListening(first).filter((socket) => inodes.has(socket.inode));
  const listens = diagnoseSockets(own, port, host);
  if (listens !== 'nothing') return listens;
  const stranger = describeListener(port);
  if (stranger !== null && !pids.includes(stranger.pid)) {
    return {
      code: 'port_taken',
      message: `Port ${port}, which it should listen on, is in use by ${stranger.text}.`,
      hint: 'Stop that program, or choose another port in the manifest.',
    };
  }
  return {
    code: 'never_listened',
    message: `None of its ${pids.length} processes listens on any TCP port; $PORT is ${port}.`,
    hint: NO_PORT_HINT,
  };
}

/** Sockets of the program itself, compared with where it is looked for; null: all is well. */
export function diagnoseSockets(own: readonly ListeningSocket[], port: number, host: string): Diagnosis | null | 'nothing' {
  const right = own.filter((socket) => socket.port === port);
  if (right.some((socket) => reaches(socket.address, host))) return null;
  const [wrongAddress] = right;
  if (wrongAddress !== undefined) {
    return {
      code: 'wrong_address',
      message: `It listens on ${place(wrongAddress.address, port)}, where ${host} does not reach it.`,
      hint: `Let the program listen on the address in $HOST (${host}) or on all addresses (0.0.0.0).`,
    };
  }
  if (own.length > 0) {
    const places = own.slice(0, 5).map((socket) => place(socket.address, socket.port));
    return {
      code: 'wrong_port',
      message: `It listens on ${places.join(', ')} instead of $PORT ${port}.`,
      hint: `Let the program listen on $PORT (\${PORT} in the command), or declare its port in the manifest: port: ${own[0]?.port ?? port}`,
    };
  }
  return 'nothing';
}
