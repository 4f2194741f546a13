// Control on its own, on an etcd store, with so many Nodes that nobody runs yet: prints where it is and what their agents come with, then
// its resident memory for every line that it is asked.

import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openFileBlobs } from '../../src/blob/files.ts';
import { ensureToken } from '../../src/control/auth/tokens.ts';
import { tokenRecords } from '../../src/control/auth/records.ts';
import { nodeSpecRecords, runtimeRecords } from '../../src/control/cluster/records.ts';
import { createControl } from '../../src/control/control.ts';
import { TEST_SETTINGS } from '../../src/control/test-context.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { newId, systemRandom } from '../../src/lib/id.ts';
import { createEtcdClient } from '../../src/store/etcd-client.ts';
import { openEtcdStore } from '../../src/store/etcd.ts';
import { create } from '../../src/store/records.ts';
import { createView } from '../../src/store/view.ts';
import { silentLog } from '../../src/sys/log.ts';

export interface Seeded {
  readonly url: string;
  readonly ownerToken: string;
  /** Of the Nodes. */
  readonly tokens: readonly string[];
}

const [endpoint = '', folder = '', nodes = ''] = process.argv.slice(2);
const [clock, random] = [systemClock, systemRandom];
const store = await openEtcdStore({ client: createEtcdClient([endpoint]), prefix: 'bench' });
const blobs = await openFileBlobs({ folder: join(folder, 'blobs'), maxBytes: 1e6, clock });
const control = createControl({
  clock,
  random,
  log: silentLog,
  store,
  isShared: true,
  storeEngine: 'etcd',
  blobs,
  settings: { ...TEST_SETTINGS, publicHttpsPort: null, nodeGraceMs: 60_000, retainEndedMs: 3_600_000 },
  masterKeyFile: join(folder, 'master.key'),
  ownerSecret: null,
  nodeName: 'control',
  edgeReconnectGraceMs: 1,
  onShutdown: () => undefined,
});
const { url, ownerToken } = await control.start({ host: '127.0.0.1', port: 0 });

const running = createView({ store, collections: [nodeSpecRecords, runtimeRecords, tokenRecords], clock });
await running.start();
const [runtime] = running.view.list(runtimeRecords);
if (runtime === undefined) throw new Error('there is no Runtime');
const tokens: string[] = [];
for (let index = 0; index < Number(nodes); index += 1) {
  const id = newId(clock.now(), random);
  const name = `n${String(index).padStart(5, '0')}`;
  await running.view.commit(
    create(nodeSpecRecords, {
      id,
      name,
      runtimeId: runtime.document.id,
      labels: {},
      scheduling: 'open',
      createdAtMs: clock.now(),
    }),
  );
  tokens.push(await ensureToken({ view: running.view, clock, random }, { principal: { kind: 'node', nodeId: id }, secret: null }));
}
await running.stop();
process.stdout.write(`${JSON.stringify({ url, ownerToken, tokens } satisfies Seeded)}\n`);
for await (const line of createInterface(process.stdin)) {
  if (line === 'stop') break;
  process.stdout.write(`${process.memoryUsage.rss()}\n`);
}
process.exit(0);
