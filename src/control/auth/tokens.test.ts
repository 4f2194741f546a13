import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../lib/clock.ts';
import { isFailure } from '../../lib/failure.ts';
import { systemRandom } from '../../lib/id.ts';
import { createMemoryStore } from '../../store/memory.ts';
import { createView } from '../../store/view.ts';
import { appRecords } from '../apps/records.ts';
import { nodeSpecRecords, runtimeRecords } from '../cluster/records.ts';
import { teamRecords, tokenRecords } from './records.ts';
import { ensureDefaultTeam } from './teams.ts';
import { createAuthenticate, ensureOwnerToken, ensureToken, makeSecret } from './tokens.ts';

async function setUp() {
  const store = createMemoryStore({ clock: systemClock });
  const collections = [teamRecords, tokenRecords, appRecords, nodeSpecRecords, runtimeRecords];
  const running = createView({ store, collections, clock: systemClock });
  await running.start();
  const context = { view: running.view, clock: systemClock, random: systemRandom };
  return { store, running, context, authenticate: createAuthenticate(running.view, nobody, nobody) };
}

const nobody = (): never => {
  throw new Error('neither machine nor Instance comes here');
};
const bearer = (secret: string): string => `Bearer ${secret}`;
const refused = (error: unknown): boolean => isFailure(error, 'unauthenticated');

test('the owner token is made once, survives restarts with its file, and only its hash is stored', async () => {
  const { store, running, context, authenticate } = await setUp();
  const secret = await ensureOwnerToken(context, null);
  assert.match(secret, /^libra_owner_[0-9a-f]{64}$/u);
  assert.equal(await ensureOwnerToken(context, `${secret}\n`), secret);
  assert.equal(running.view.list(tokenRecords).length, 1);
  assert.equal(authenticate(bearer(secret)).kind, 'owner');
  const { entries } = await store.list({ prefix: '' });
  assert.doesNotMatch(JSON.stringify(entries), new RegExp(secret.slice('libra_owner_'.length), 'u'));
  await running.stop();
});

test('when the file is lost the old credential ends', async () => {
  const { running, context, authenticate } = await setUp();
  const lost = await ensureOwnerToken(context, null);
  const next = await ensureOwnerToken(context, null);
  assert.notEqual(next, lost);
  assert.throws(() => authenticate(bearer(lost)), refused);
  assert.equal(authenticate(bearer(next)).kind, 'owner');
  await running.stop();
});

test('a secret that was written to disk before a kill is registered by the next start', async () => {
  const { running, context, authenticate } = await setUp();
  const principal = { kind: 'node', nodeId: 'n1' } as const;
  const secret = makeSecret(context, principal);
  await ensureToken(context, { principal, secret });
  const found = authenticate(bearer(secret));
  assert.ok(found.kind === 'node' && found.nodeId === 'n1');
  await running.stop();
});

test('credentials of a Node, an Edge and the owner stand beside each other', async () => {
  const { running, context, authenticate } = await setUp();
  const owner = await ensureOwnerToken(context, null);
  const node = await ensureToken(context, { principal: { kind: 'node', nodeId: 'n1' }, secret: null });
  const other = await ensureToken(context, { principal: { kind: 'node', nodeId: 'n2' }, secret: null });
  const edge = await ensureToken(context, { principal: { kind: 'edge', nodeId: 'n1' }, secret: null });
  assert.deepEqual(
    [owner, node, other, edge].map((secret) => authenticate(bearer(secret)).name),
    ['owner', 'node/n1', 'node/n2', 'edge/n1'],
  );
  await assert.rejects(ensureOwnerToken(context, node), (error) => isFailure(error, 'conflict'));
  await running.stop();
});

test('what is not a credential is refused, and a damaged file is named instead of taken', async () => {
  const { running, context, authenticate } = await setUp();
  const secret = await ensureOwnerToken(context, null);
  const wrong = [
    undefined,
    '',
    'Bearer',
    secret,
    `Basic ${secret}`,
    bearer(`${secret}0`),
    bearer(secret.slice(1)),
    bearer('x'.repeat(5000)),
  ];
  for (const header of wrong) assert.throws(() => authenticate(header), refused, String(header));
  await assert.rejects(ensureOwnerToken(context, 'password'), (error) => isFailure(error, 'invalid_input'));
  await running.stop();
});

test('the default Team is made once', async () => {
  const { running, context } = await setUp();
  const [one, two] = await Promise.all([ensureDefaultTeam(context), ensureDefaultTeam(context)]);
  assert.equal(one.id, two.id);
  assert.equal((await ensureDefaultTeam(context)).id, one.id);
  await running.stop();
});
