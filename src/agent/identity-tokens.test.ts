// Tokens of Instances as an agent keeps them: what each says, for whom there is one, and that there is always one with time left.

import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import type { DesiredInstance } from '../api/agent.ts';
import { createFakeClock } from '../lib/clock.ts';
import type { FakeClock } from '../lib/clock.ts';
import { newId } from '../lib/id.ts';
import { silentLog } from '../sys/log.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { createTokenVerifier } from '../tunnel/instance-token.ts';
import { createIdentityTokens, tokenFile } from './identity-tokens.ts';
import type { IdentityTokens } from './identity-tokens.ts';
import { newInstanceState } from './instance-state.ts';
import type { InstanceState } from './instance-state.ts';
import { createBench } from './testing-agent.ts';
import type { Bench } from './testing-agent.ts';
import { desiredInstance, desiredOneOff } from './testing.ts';

const MINUTE_MS = 60_000;
const authority = makeAuthority();
const nodeId = newId();
const machine = authority.issueMachine(nodeId, ['node'], { untilMs: Date.UTC(2030, 0, 1) });

const NO_RESTORE = (id: string): Promise<void> => Promise.reject(new Error(`${id} has its folder`));

interface Rig {
  readonly clock: FakeClock;
  readonly tokens: IdentityTokens;
  readonly states: InstanceState[];
  /** Minutes that its token is still good for; NaN: it has none that counts. */
  left(folder: string): number;
  setIdentity(identity: MachineIdentity): void;
}

async function rig(context: TestContext): Promise<Rig> {
  const dataFolder = mkdtempSync(join(tmpdir(), 'libra-tokens-'));
  // Within the time of the certificate.
  const clock = createFakeClock(Date.now());
  const verifier = createTokenVerifier({ authorityPem: () => authority.certificatePem, clock });
  const states: InstanceState[] = [];
  let identity = machine;
  const made: Rig = {
    clock,
    states,
    setIdentity: (next) => {
      identity = next;
    },
    tokens: await createIdentityTokens({
      identity: () => identity,
      dataFolder,
      fallback: join(dataFolder, 'tokens'),
      clock,
      log: silentLog,
    }),
    left: (folder) => {
      const verified = verifier.verify(readFileSync(tokenFile(folder), 'utf8'));
      return verified.ok ? (verified.expiresAtMs - clock.now()) / MINUTE_MS : Number.NaN;
    },
  };
  context.after(async () => {
    await made.tokens.stop(new Set());
    rmSync(dataFolder, { recursive: true });
  });
  return made;
}

function written(tokens: IdentityTokens, spec: DesiredInstance): string {
  const folder = tokens.write(spec);
  assert.ok(folder !== null);
  return folder;
}

/** The same with one Instance that runs, and is followed. */
async function upRig(context: TestContext): Promise<Rig & { readonly folder: string }> {
  const made = await rig(context);
  const spec = desiredInstance({ id: 'one' });
  const folder = written(made.tokens, spec);
  made.states.push({ ...newInstanceState(spec), activity: 'up' });
  made.tokens.follow(() => made.states, NO_RESTORE);
  return { ...made, folder };
}

test('a token is written before there is anybody to follow, and says who the Instance is', async (context) => {
  const { clock, tokens } = await rig(context);
  const spec = desiredInstance({ id: 'one' });
  const folder = written(tokens, spec);
  assert.equal(folder, tokens.folder(spec));
  assert.deepEqual(readdirSync(folder), ['token']);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.equal(statSync(tokenFile(folder)).mode & 0o777, 0o444);
  const verified = createTokenVerifier({ authorityPem: () => authority.certificatePem, clock }).verify(
    readFileSync(tokenFile(folder), 'utf8'),
  );
  assert.ok(verified.ok);
  assert.equal(verified.nodeId, nodeId);
  assert.deepEqual(verified.claims, {
    instanceId: 'one',
    app: 'shop',
    environment: 'production',
    environmentId: 'environment-1',
    entrypoint: 'web',
  });
});

test('builds and what belongs to no Environment have none', async (context) => {
  const { tokens } = await rig(context);
  for (const spec of [desiredOneOff({ role: 'build' }), desiredInstance({ environment: null })]) {
    assert.equal(tokens.folder(spec), null);
    assert.equal(tokens.write(spec), null);
  }
  for (const role of ['run', 'schedule', 'before-deploy'] as const) assert.ok(tokens.write(desiredOneOff({ id: role, role })) !== null);
});

test('more than twelve of its fifteen minutes are always left', async (context) => {
  const { clock, folder, left } = await upRig(context);
  for (let second = 0; second < 40 * 60; second += 10) {
    await clock.advance(10_000);
    assert.ok(left(folder) > 12, `${left(folder)} minutes after ${second} s`);
  }
});

test('it is replaced by rename: a reader that has it open goes on reading the one of before', async (context) => {
  const { clock, folder } = await upRig(context);
  await clock.advance(1);
  const before = { text: readFileSync(tokenFile(folder), 'utf8'), file: statSync(tokenFile(folder)).ino };
  await clock.advance(3 * MINUTE_MS);
  assert.notEqual(readFileSync(tokenFile(folder), 'utf8'), before.text);
  assert.notEqual(statSync(tokenFile(folder)).ino, before.file);
  assert.deepEqual(readdirSync(folder), ['token']);
});

test('a clock that is put right, forwards or back, brings new ones at the next look', async (context) => {
  const { clock, folder, left } = await upRig(context);
  await clock.advance(1);
  for (const jump of [20 * MINUTE_MS, -10 * MINUTE_MS]) {
    clock.jump(jump);
    assert.ok(!(left(folder) > 12 && left(folder) <= 15), 'it does not fit the clock any more');
    await clock.advance(30_000);
    assert.ok(left(folder) > 12 && left(folder) <= 15, `${left(folder)} minutes after a jump of ${jump} ms`);
  }
});

test('the next key of the machine signs at once', async (context) => {
  const made = await upRig(context);
  const { clock, tokens, folder } = made;
  await clock.advance(1);
  const certificateIn = (): string => readFileSync(tokenFile(folder), 'utf8').split('.')[0] ?? '';
  const before = certificateIn();
  made.setIdentity(authority.issueMachine(nodeId));
  tokens.renew();
  await clock.advance(1);
  assert.notEqual(certificateIn(), before);
});

test('one that has ended gets no more, and one that is not prepared yet none', async (context) => {
  const { clock, tokens, states, left } = await rig(context);
  const [done, early] = ['done', 'early'].map((id) => desiredInstance({ id }));
  assert.ok(done !== undefined && early !== undefined);
  const folder = written(tokens, done);
  states.push({ ...newInstanceState(done), activity: 'done' }, { ...newInstanceState(early), activity: 'preparing' });
  tokens.follow(() => states, NO_RESTORE);
  await clock.advance(15 * MINUTE_MS);
  assert.ok(Number.isNaN(left(folder)), 'its time is over');
  assert.equal(existsSync(join(dirname(folder), 'early')), false);
});

test('what an App puts into its folder leads us nowhere', async (context) => {
  const { clock, tokens, states, folder, left } = await upRig(context);
  const victim = join(dirname(folder), 'victim');
  writeFileSync(victim, 'precious');
  await clock.advance(1);
  rmSync(tokenFile(folder));
  symlinkSync(victim, tokenFile(folder));
  symlinkSync(victim, join(folder, '.token.new'));
  tokens.renew();
  await clock.advance(1);
  assert.equal(readFileSync(victim, 'utf8'), 'precious');
  assert.throws(() => readlinkSync(tokenFile(folder)), 'the link was replaced');
  assert.ok(left(folder) > 12);
  // One that breaks its own token keeps nobody else from theirs.
  rmSync(tokenFile(folder));
  mkdirSync(join(tokenFile(folder), 'x'), { recursive: true });
  const other = desiredInstance({ id: 'two' });
  const others = written(tokens, other);
  states.push({ ...newInstanceState(other), activity: 'up' });
  await clock.advance(10 * MINUTE_MS);
  assert.ok(left(others) > 12);
  rmSync(victim);
});

async function bench(context: TestContext): Promise<Bench & { left(id?: string): number; tokenFolder(id?: string): string }> {
  const made = await createBench(() => ({ listens: true }), {
    identity: () => machine,
    apiProxy: { url: 'http://127.0.0.1:7480', insideUrl: null },
  });
  context.after(() => made.close());
  const verifier = createTokenVerifier({ authorityPem: () => authority.certificatePem, clock: made.clock });
  made.clock.jump(Date.now() - made.clock.now());
  const file = (id = 'instance-1'): string => made.driver().world.runs.get(`${id}.1`)?.spec.env['LIBRA_IDENTITY_FILE'] ?? '';
  return {
    ...made,
    tokenFolder: (id) => dirname(file(id)),
    left: (id) => {
      const verified = verifier.verify(readFileSync(file(id), 'utf8'));
      return verified.ok ? (verified.expiresAtMs - made.clock.now()) / MINUTE_MS : Number.NaN;
    },
  };
}

test('a program is told where its token is and where its Services are', async (context) => {
  const { control, driver, until, status, left } = await bench(context);
  control.snapshot(desiredInstance({ uses: ['billing.invoices', 'mail/staging.out-box', 'librad.kv'] }), desiredInstance({ id: 'plain' }));
  await until('both are healthy', () => status()?.healthy === true && status('plain')?.healthy === true);
  const env = driver().world.runs.get('instance-1.1')?.spec.env ?? {};
  assert.ok(left() > 12);
  assert.equal(env['LIBRA_APIPROXY'], 'http://127.0.0.1:7480');
  const services = Object.entries(env).filter(([name]) => name.startsWith('LIBRA_SERVICE_'));
  assert.deepEqual(services, [
    ['LIBRA_SERVICE_BILLING_INVOICES', 'http://127.0.0.1:7480/billing.invoices'],
    ['LIBRA_SERVICE_MAIL_OUT_BOX', 'http://127.0.0.1:7480/mail.out-box'],
    ['LIBRA_SERVICE_LIBRAD_KV', 'http://127.0.0.1:7480/librad.kv'],
  ]);
  const plain = driver().world.runs.get('plain.1')?.spec.env ?? {};
  assert.deepEqual(
    Object.keys(plain).filter((name) => name.startsWith('LIBRA_SERVICE_')),
    [],
  );
});

test('tokens are replaced while control is away, and by an agent that has heard nothing of it since its start', async (context) => {
  const { control, until, status, clock, restart, left, tokenFolder } = await bench(context);
  const token = (): string => readFileSync(tokenFile(tokenFolder()), 'utf8');
  control.snapshot(desiredInstance({}));
  await until('it is healthy', () => status()?.healthy === true);
  control.reachable = false;
  control.hangUp();
  const first = token();
  await until('it was replaced', () => token() !== first);
  assert.ok(left() > 12);
  await restart({ stopInstances: false, between: () => clock.jump(10 * MINUTE_MS) });
  await until('the token is as good as new', () => left() > 12);
  control.reachable = true;
});

test('a folder that somebody has cleared away under a program that runs is made again', async (context) => {
  const { control, until, status, left, tokenFolder, agent } = await bench(context);
  control.snapshot(desiredInstance({}), desiredInstance({ id: 'two' }));
  await until('both are healthy', () => status()?.healthy === true && status('two')?.healthy === true);
  rmSync(dirname(tokenFolder()), { recursive: true });
  agent().renewIdentity();
  await until('both are there again', () => [tokenFolder(), tokenFolder('two')].every((each) => existsSync(tokenFile(each))));
  assert.ok(left() > 12 && left('two') > 12);
});

test('the token goes with its Instance, and with the platform', async (context) => {
  const { control, until, status, tokenFolder, agent } = await bench(context);
  control.snapshot(desiredInstance({}), desiredInstance({ id: 'two' }));
  await until('both are healthy', () => status()?.healthy === true && status('two')?.healthy === true);
  const folders = [tokenFolder(), tokenFolder('two')];
  assert.deepEqual(
    folders.map((each) => existsSync(each)),
    [true, true],
  );
  control.delta([], ['instance-1']);
  await until('the first is gone', () => status() === undefined);
  assert.deepEqual(
    folders.map((each) => existsSync(each)),
    [false, true],
  );
  const stopped = agent().stop({ stopInstances: true });
  const progress = { over: false };
  void stopped.then(() => {
    progress.over = true;
  });
  await until('the agent has stopped', () => progress.over);
  assert.deepEqual(
    folders.map((each) => existsSync(each)),
    [false, false],
  );
  assert.equal(existsSync(dirname(folders[0] ?? '')), false);
});

test('without an identity of the machine nobody is told of one', async (context) => {
  const made = await createBench(() => ({ listens: true }));
  context.after(() => made.close());
  made.control.snapshot(desiredInstance({ uses: ['billing.invoices'] }));
  await made.until('it is healthy', () => made.status()?.healthy === true);
  const env = made.driver().world.runs.get('instance-1.1')?.spec.env ?? {};
  const names = Object.keys(env).filter((name) => /^LIBRA_(?:IDENTITY|APIPROXY|SERVICE)/u.test(name));
  assert.deepEqual(names, []);
});
