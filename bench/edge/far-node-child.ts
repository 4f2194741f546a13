// The data port of a Node that runs nothing but the upstream of the bench. Its options are its only word.

import { systemClock } from '../../src/lib/clock.ts';
import { silentLog } from '../../src/sys/log.ts';
import { createDataPort } from '../../src/tunnel/data-port.ts';
import type { MachineIdentity } from '../../src/tunnel/identity.ts';

export interface FarNodeOptions {
  readonly identity: MachineIdentity;
  readonly edgeId: string;
  readonly port: number;
  readonly upstreamPort: number;
}

const { identity, edgeId, port, upstreamPort } = JSON.parse(process.argv[2] ?? '') as FarNodeOptions; // written by far-node.ts
await createDataPort({
  identity: () => identity,
  listen: { host: '127.0.0.1', port },
  resolve: () => ({ host: '127.0.0.1', port: upstreamPort }),
  mayConnect: (nodeId) => nodeId === edgeId,
  clock: systemClock,
  log: silentLog,
}).start();
