// kv and locks under two control planes while the one that leads is killed or stopped again and again: every recorded history can be explained by
// operations that take effect one after the other, no lock is held twice, no write under an old fence counts, and watchers are told
// everything once. The short form is part of the suite; LIBRA_TEST_LIBRAD_OPERATIONS and LIBRA_TEST_LIBRAD_FAULTS set the size.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { createClient } from '../../src/api/client.ts';
import { table } from '../../src/api/table.ts';
import { createSeededRandom } from '../../src/lib/id.ts';
import { isFailure } from '../../src/lib/failure.ts';
import { identityOf } from '../../src/tunnel/identity.ts';
import { signInstanceToken } from '../../src/tunnel/instance-token.ts';
import { writeApp } from '../fixtures/app-folder.ts';
import { leaderOf, withPair } from '../fixtures/control-planes.ts';
import type { Pair } from '../fixtures/control-planes.ts';
import { createKvRecorder, createLockRecorder, lateWrites, pause, wrongGrants } from '../fixtures/librad-clients.ts';
import type { Service } from '../fixtures/librad-clients.ts';
import { checkHistory, kvModel } from '../fixtures/linearizability.ts';
import { until } from '../platform.ts';
import type { Platform } from '../platform.ts';
import { lacking } from '../requirements.ts';

const OPERATIONS = Number(process.env['LIBRA_TEST_LIBRAD_OPERATIONS'] ?? 300);
const FAULTS = Number(process.env['LIBRA_TEST_LIBRAD_FAULTS'] ?? 1);
const SEED = Number(process.env['LIBRA_TEST_SEED'] ?? 20_261_128);
const CLIENTS = 8;
const KEYS = ['k0', 'k1', 'k2', 't0'];
const LOCKS = ['l0', 'l1', 'l2'];
const TOKEN_MS = 300_000;

const manifest = `app: keeper
uses: [librad.kv, librad.locks]
entrypoints:
  worker:
    command: sleep 100000
    resources: { cpu: 0.05, memory: 16Mi }
    stop: { signal: SIGKILL }
`;

/** The token that the Node of an Instance gives it. */
async function tokensOf({ first, second }: Pair): Promise<() => string> {
  const params = { app: 'keeper', environment: 'production' };
  const { items } = await first.client().instances.list({ params });
  const instance = items.find(({ phase }) => phase === 'running');
  assert.ok(instance);
  const environment = await first.client().environments.get({ params });
  const platform = instance.node === 'one' ? first : second;
  const identity = identityOf(JSON.parse(readFileSync(join(platform.data, 'identity.json'), 'utf8')));
  assert.ok(identity);
  const claims = { instanceId: instance.id, ...params, environmentId: environment.id, entrypoint: 'worker' };
  let signed: { readonly token: string; readonly atMs: number } | null = null;
  return () => {
    if (signed === null || Date.now() - signed.atMs > TOKEN_MS)
      signed = { token: signInstanceToken(identity, claims, Date.now()), atMs: Date.now() };
    return signed.token;
  };
}

interface Watching {
  /** `<key> <version>` of each put, `-<key>` of each deletion, in order. */
  readonly told: readonly string[];
  readonly resumed: () => number;
  /** All that was there at first has been told. */
  readonly isSynced: () => boolean;
  stop(): Promise<void>;
}

/** Comes back after every break with the last id, at the other control plane. */
function watch(service: Service, prefix: string): Watching {
  const over = new AbortController();
  const told: string[] = [];
  let resumed = -1;
  let isSynced = false;
  let lastEventId: string | undefined;
  const running = (async () => {
    while (!over.signal.aborted) {
      resumed += 1;
      const urls = service.urls();
      const client = createClient(table, { url: urls[resumed % urls.length] ?? '', token: service.token() });
      try {
        const stream = client.kv.watch({
          query: { prefix },
          signal: over.signal,
          giveUpAfterMs: 0,
          onId: (id) => {
            lastEventId = id;
          },
          ...(lastEventId === undefined ? {} : { lastEventId }),
        });
        for await (const change of stream) {
          if (change.kind === 'put') told.push(`${change.key} ${change.version}`);
          else if (change.kind === 'delete') told.push(`-${change.key}`);
          else isSynced = true;
        }
      } catch (error) {
        if (isFailure(error, 'compacted')) throw error;
        await pause(100);
      }
    }
  })();
  running.catch(() => undefined);
  return {
    told,
    resumed: () => resumed,
    isSynced: () => isSynced,
    stop: async () => {
      over.abort();
      await running;
    },
  };
}

/** Every second time it is only stopped, until another one leads, and then wakes up believing that it leads. */
async function disturbTheLeader({ first, second }: Pair, kind: 'kill' | 'stop'): Promise<void> {
  const name = await until('somebody leads', 30_000, async () => (await leaderOf(first).catch(() => null)) ?? (await leaderOf(second)));
  const [leader, other]: readonly [Platform, Platform] = name === 'one' ? [first, second] : [second, first];
  if (kind === 'stop') {
    const { pid } = leader.addresses;
    process.kill(pid, 'SIGSTOP');
    try {
      await until('the other one leads', 30_000, async () => ![null, name].includes(await leaderOf(other)));
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await until('it knows', 30_000, async () => ![null, name].includes(await leaderOf(leader)));
    return;
  }
  await leader.kill();
  const restarted = leader.start();
  await until('the other one leads, or it does again', 30_000, async () => (await leaderOf(other)) !== null);
  await restarted;
}

describe('kv and locks', { skip: lacking('etcd') }, () => {
  test('are linearizable under two control planes, of which the one that leads is killed', { timeout: 1_200_000 }, (t) =>
    withPair(
      async (pair) => {
        const { first, second } = pair;
        const deployed = await first.cli('deploy', writeApp(first, 'keeper', { 'libra.yaml': manifest }));
        assert.equal(deployed.code, 0, deployed.stdout + deployed.stderr);
        const service: Service = { urls: () => [first.addresses.api, second.addresses.api], token: await tokensOf(pair) };
        const random = createSeededRandom(SEED);
        const next = (): number => random.next();
        const kv = createKvRecorder(service, KEYS);
        const locks = createLockRecorder(service);
        const watches = [watch(service, ''), watch({ ...service, urls: () => service.urls().toReversed() }, '')];
        await until('both watch', 10_000, () => watches.every((each) => each.isSynced()));
        let done = 0;
        const refusals = (): number => locks.guarded.filter((write) => !write.done).length;
        const isOver = (): boolean => kv.count() >= OPERATIONS && done >= FAULTS && locks.grants.length >= 20 && refusals() > 0;
        const beganMs = performance.now();
        const clients = Array.from({ length: CLIENTS }, async () => {
          while (!isOver()) if (!(await kv.step(next))) await pause(100);
        });
        const contenders = LOCKS.flatMap((lock) =>
          Array.from({ length: 3 }, async () => {
            while (!isOver()) if (!(await locks.step(lock, next))) await pause(100);
          }),
        );
        const killing = (async () => {
          for (; done < FAULTS; done += 1) {
            const from = (OPERATIONS * (done + 0.5)) / FAULTS;
            await until('it is time for a fault', 600_000, () => kv.count() >= Math.min(from, OPERATIONS));
            await disturbTheLeader(pair, done % 2 === 0 ? 'kill' : 'stop');
          }
        })();
        await Promise.all([...clients, ...contenders, killing]);
        const tookMs = performance.now() - beganMs;

        // What has a time is over by then, and watchers have heard of it.
        await until('keys have ended by themselves', 30_000, async () => {
          const left = await createClient(table, { url: first.addresses.api, token: service.token() }).kv.list({ query: { prefix: 't' } });
          return left.items.length === 0;
        });
        const total = await createClient(table, { url: first.addresses.api, token: service.token() }).kv.list({
          query: { values: 'false' },
        });
        const isTold = ({ told }: Watching): boolean => total.items.every(({ key, version }) => told.includes(`${key} ${version}`));
        await until(
          'watchers have been told all',
          30_000,
          () => watches.every(isTold) && watches[0]?.told.length === watches[1]?.told.length,
        );
        for (const each of watches) await each.stop();
        const [told, same] = watches.map((each) => each.told);
        const differs = told?.findIndex((one, index) => one !== same?.[index]) ?? 0;
        const around = (list: readonly string[] = []): string => list.slice(Math.max(0, differs - 3), differs + 5).join(', ');
        assert.equal(differs, -1, `both are told the same in the same order: ${around(told)} | ${around(same)}`);
        const puts = (watches[0]?.told ?? []).filter((one) => !one.startsWith('-'));
        assert.equal(new Set(puts).size, puts.length, 'nothing was told twice');
        for (const [key, versions] of kv.written) {
          const missing = versions.filter((version) => !puts.includes(`${key} ${version}`));
          assert.deepEqual(missing, [], `all that was acknowledged of ${key} was told`);
        }

        let lost = 0;
        for (const [key, history] of kv.histories) {
          lost += history.filter(({ output, input }) => output === null && input.do !== 'expire').length;
          const result = checkHistory(kvModel, history);
          if (!result.ok)
            console.error(
              key,
              result,
              result.stuck.map((index) => history[index]),
            );
          assert.ok(result.ok, `the history of ${key}`);
        }
        assert.deepEqual(wrongGrants(locks.grants), [], 'no lock was held twice, and fences only grow');
        assert.deepEqual(lateWrites(locks.grants, locks.guarded), [], 'no write under an old fence counted');
        t.diagnostic(
          `${kv.count()} operations of ${CLIENTS} clients in ${Math.round(tookMs / 1000)} s, ${lost} without an answer; ${FAULTS} faults; ${locks.grants.length} grants of ${LOCKS.length} locks, ${refusals()} of ${locks.guarded.length} writes under a fence refused; watchers were told ${puts.length} writes and came back ${watches.map((each) => each.resumed()).join(' and ')} times`,
        );
      },
      { env: { LIBRA_API_TLS_HOST: '127.0.0.1', LIBRA_API_TLS_PORT: '0' } },
    ),
  );
});
