// The services of Librad as an App uses them: the example is deployed, counts without losing a visit, and agrees on who leads.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createLibrad, LibradError } from '../../examples/services/librad.ts';
import { Platform, root, until } from '../platform.ts';
import { lacking } from '../requirements.ts';

interface Told {
  readonly me: string;
  readonly pid: number;
  readonly leader: string | null;
}

describe('services for Apps', () => {
  const platform = new Platform();
  before(() => platform.start());
  after(() => platform.dispose());

  const ask = async (): Promise<Told> => JSON.parse((await platform.get('services.localhost', '/leader')).body) as Told; // of the example

  test('Instances count every visit once, and agree on one that leads, also when that one is killed', async () => {
    const deployed = await platform.cli('deploy', join(root, 'examples/services'));
    assert.equal(deployed.code, 0, deployed.stdout + deployed.stderr);
    const visits = await Promise.all(Array.from({ length: 30 }, () => platform.get('services.localhost', '/')));
    assert.deepEqual(
      visits.map(({ body }) => Number(body)).toSorted((a, b) => a - b),
      Array.from({ length: 30 }, (_unused, index) => index + 1),
      visits.map(({ status, body }) => `${status} ${body}`).join(),
    );
    const told = new Map<string, Told>();
    const agreed = async (): Promise<string | null> => {
      const one = await ask();
      told.set(one.me, one);
      const leaders = new Set([...told.values()].map(({ leader }) => leader));
      const [leader = null] = leaders;
      return told.size === 2 && leaders.size === 1 ? leader : null;
    };
    const leader = await until('both agree on who leads', 15_000, agreed);
    const pid = told.get(leader)?.pid;
    assert.ok(pid !== undefined, 'it is one of them');
    process.kill(pid, 'SIGKILL');
    await until('the other one leads', 20_000, async () => {
      const one = await ask().catch(() => null);
      return one !== null && one.leader !== null && one.leader !== leader;
    });
    assert.equal(Number((await platform.get('services.localhost', '/')).body), 31);
  });

  /** The variables of one of its Instances, whose token this test can read too. */
  const variables = async (): Promise<Readonly<Record<string, string>>> => {
    const ran = await platform.cli('exec', '-a', 'services', '--', 'node', '-p', 'JSON.stringify(process.env)');
    assert.equal(ran.code, 0, ran.stderr);
    return JSON.parse(ran.stdout) as Record<string, string>; // printed by the line above
  };

  test('what an App does not use is refused, and says how that is changed', async () => {
    const librad = createLibrad({
      ...(await variables()),
      LIBRA_SERVICE_LIBRAD_CONFIG: `${(await variables())['LIBRA_APIPROXY']}/librad.config`,
    });
    await assert.rejects(
      librad.config.get(),
      (error) => error instanceof LibradError && error.status === 403 && /librad\.config/u.test(error.message),
    );
    assert.equal((await librad.kv.get('visits'))?.value, '31');
    const token = readFileSync((await variables())['LIBRA_IDENTITY_FILE'] ?? '', 'utf8').trim();
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'if-match': '*' };
    const compared = await fetch(`${platform.addresses.api}/v1/librad/kv/keys/visits`, { method: 'PUT', headers, body: '{"value":"0"}' });
    assert.equal(compared.status, 400, 'a version is compared in the commit or not at all');
    assert.equal(await librad.kv.get('nothing'), null);
  });

  test('what the guide shows in other languages works as it stands there', { skip: lacking('python3') }, async () => {
    const guide = readFileSync(join(root, 'docs/guide/services.md'), 'utf8');
    const shown = (language: string): string => new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'msu').exec(guide)?.[1] ?? '';
    for (const [program, ...words] of [
      ['node', '--input-type=module', '-e', shown('js')],
      ['python3', '-c', shown('python')],
    ] as const) {
      const ran = await platform.cli('exec', '-a', 'services', '--', program, ...words);
      assert.equal(ran.code, 0, `${program}: ${ran.stdout}${ran.stderr}`);
    }
    assert.equal((await createLibrad(await variables()).kv.get('visits'))?.value, '33');
  });

  test('a watch goes on over a kill -9 of librad, and tells everything once', async () => {
    const librad = createLibrad(await variables());
    const over = new AbortController();
    const told: string[] = [];
    const watching = (async () => {
      for await (const change of librad.kv.watch('w:', over.signal)) {
        if (change.kind === 'put') told.push(`${change.key}=${change.value}`);
        else told.push(change.kind === 'delete' ? `-${change.key}` : change.kind);
      }
    })();
    await until('all is told', 10_000, () => told.includes('synced'));
    const version = await librad.kv.put('w:a', '1');
    assert.equal(await librad.kv.put('w:a', 'too late', { ifVersion: null }), null);
    await platform.kill();
    await platform.start();
    // The first that is answered; before, nobody knows whether it was done.
    const again = await until('it is written', 20_000, () => librad.kv.put('w:a', '2', { ifVersion: version }).catch(() => null));
    assert.notEqual(again, version);
    assert.equal(await librad.kv.delete('w:a'), true);
    await until('the end is told', 20_000, () => told.includes('-w:a'));
    over.abort();
    await watching;
    assert.deepEqual(
      told.filter((one) => one !== 'synced'),
      ['w:a=1', 'w:a=2', '-w:a'],
    );
    const keys: string[] = [];
    for await (const { key } of librad.kv.list()) keys.push(key);
    assert.deepEqual(keys, ['visits']);
  });
});
