import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { silentLog } from '../sys/log.ts';
import type { Log } from '../sys/log.ts';
import { group, rule } from '../edge/edge-fixture.ts';
import { loadTable, saveTable } from './table-file.ts';

let folder: string;
const warnings: string[] = [];
const log: Log = { ...silentLog, warn: (_fields, message) => void warnings.push(message) };

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'libra-table-'));
});
after(() => rm(folder, { recursive: true, force: true }));

test('what was kept is read again', async () => {
  const file = join(folder, 'kept.json');
  const target = {
    instanceId: 'i',
    deploymentId: 'd',
    nodeId: 'n',
    host: '127.0.0.1',
    port: 80,
    state: 'active',
    drainUntilMs: null,
  } as const;
  const state = { sequence: 12, table: { rules: [rule('a.localhost', 'a')], groups: [group('a', [target])] } };
  await saveTable(file, state);
  await saveTable(file, { ...state, sequence: 13 });
  assert.deepEqual(await loadTable(file, log), { ...state, sequence: 13 });
  assert.deepEqual(warnings, []);
});

test('no file is no table and no warning', async () => {
  assert.equal(await loadTable(join(folder, 'none.json'), log), null);
  assert.deepEqual(warnings, []);
});

test('a file that is damaged in any place is left out with a warning', async () => {
  const file = join(folder, 'damaged.json');
  await saveTable(file, { sequence: 1, table: { rules: [rule('a.localhost', 'a')], groups: [group('a', [])] } });
  const whole = await readFile(file, 'utf8');
  const damaged = [
    '',
    'null',
    '[]',
    '{"schema":2}',
    whole.slice(0, -5),
    whole.replace('"path"', '"pfad"'),
    whole.replace('"targets":[]', '"targets":[1]'),
  ];
  for (const content of damaged) {
    warnings.length = 0;
    await writeFile(file, content);
    assert.equal(await loadTable(file, log), null, content);
    assert.equal(warnings.length, 1, content);
  }
});
