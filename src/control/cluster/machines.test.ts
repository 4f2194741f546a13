import assert from 'node:assert/strict';
import { createHash, createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import type { ReplyOf } from '../../api/endpoint.ts';
import type { table } from '../../api/table.ts';
import { isFailure } from '../../lib/failure.ts';
import { remove } from '../../store/records.ts';
import { createSealer } from '../config/sealer.ts';
import { callOf, createTestContext } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { ensureLocalNode } from './bootstrap.ts';
import type { Gift } from './invitations.ts';
import { createMachines } from './machines.ts';
import type { Machines } from './machines.ts';
import { invitationRecords, nodeSpecRecords } from './records.ts';

type Invite = Parameters<Machines['handlers']['invitations']['create']>[0]['body'];
type Certified = ReplyOf<(typeof table)['machines']['join']>;

interface Setting {
  readonly context: TestContext;
  readonly machines: Machines;
  invite(change?: Partial<Invite>): Promise<string>;
  join(token: string, hostname?: string, publicKeyPem?: string): Promise<Certified>;
}

const makeKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'pem', type: 'spki' }).toString();

async function withMachines(run: (setting: Setting) => Promise<void>, gift?: Gift): Promise<void> {
  const context = await createTestContext();
  try {
    await ensureLocalNode(context, { nodeId: 'first', hostname: 'first', teamId: 'team-1' });
    const sealer = createSealer(createHash('sha256').update('master').digest(), context.random);
    const machines = await createMachines(context, { sealer, url: () => 'https://10.0.0.1:7401', gift });
    const body = { runtime: 'default', roles: ['agent' as const], labels: {}, expiresInMs: 3_600_000 };
    await run({
      context,
      machines,
      invite: async (change = {}) => {
        const call = callOf<typeof table.invitations.create>({ params: {}, query: undefined, body: { ...body, ...change } });
        return (await machines.handlers.invitations.create(call)).token;
      },
      join: (token, hostname = 'web-box.example.org', publicKeyPem = makeKey()) =>
        machines.handlers.machines.join(
          callOf<typeof table.machines.join>({ params: {}, query: undefined, body: { token, hostname, publicKeyPem } }),
        ),
    });
  } finally {
    await context.close();
  }
}

const forbidden = (error: unknown): boolean => isFailure(error, 'forbidden');

test('an invited machine becomes a Node, and its certificate is who it is from then on', () =>
  withMachines(async ({ context, machines, invite, join }) => {
    const reply = await join(await invite({ roles: ['edge', 'agent'], labels: { zone: 'a' } }));
    const node = context.view.get(nodeSpecRecords, reply.nodeId)?.document;
    assert.deepEqual([node?.name, node?.labels, node?.machine?.roles], ['web-box', { zone: 'a' }, ['agent', 'edge']]);
    const certificate = new X509Certificate(reply.certificatePem);
    const root = new X509Certificate(reply.authorityPem);
    assert.ok(certificate.checkIssued(root) && certificate.verify(root.publicKey));
    assert.equal(certificate.subjectAltName, `DNS:${reply.nodeId}.node.libra.internal, DNS:${reply.nodeId}.edge.libra.internal`);
    const asNode = machines.authenticate({ shown: certificate, permission: 'agent.sync' });
    const asEdge = machines.authenticate({ shown: certificate, permission: 'dataplane.sync' });
    assert.ok(asNode.kind === 'node' && asEdge.kind === 'edge' && asNode.nodeId === reply.nodeId);
    assert.ok(asNode.permissions.has('agent.sync') && asEdge.permissions.has('dataplane.sync'));
    assert.ok(!asNode.permissions.has('apps.read') && !asEdge.permissions.has('blobs.read'));
  }));

test('one that was invited without an Edge follows the table as a Node, which is not told of Routes and keys', () =>
  withMachines(async ({ machines, invite, join }) => {
    const certificate = new X509Certificate((await join(await invite())).certificatePem);
    assert.equal(certificate.subjectAltName?.includes('edge'), false);
    assert.equal(machines.authenticate({ shown: certificate, permission: 'dataplane.sync' }).kind, 'node');
  }));

test('an invitation is for one machine, which may ask again, and for its time', () =>
  withMachines(async ({ context, invite, join }) => {
    const token = await invite();
    const key = makeKey();
    const first = await join(token, 'a', key);
    assert.equal((await join(token, 'a', key)).nodeId, first.nodeId);
    await assert.rejects(join(token), forbidden);
    assert.equal(context.view.list(nodeSpecRecords).length, 2);
    const late = await invite({ expiresInMs: 60_000 });
    await context.clock.advance(60_000);
    await assert.rejects(join(late), forbidden);
    for (const wrong of ['', 'libra_join_', `libra_join_${'0'.repeat(64)}`, token.replace(/^libra/u, 'other')])
      await assert.rejects(join(wrong), forbidden);
  }));

test('two machines that come at once with one invitation are one Node and one refusal', () =>
  withMachines(async ({ context, invite, join }) => {
    const token = await invite();
    const settled = await Promise.allSettled([join(token, 'a'), join(token, 'b')]);
    assert.deepEqual(settled.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    assert.equal(context.view.list(nodeSpecRecords).length, 2);
  }));

test('names that are taken get a number, and one that was asked for and is taken is refused at once', () =>
  withMachines(async ({ invite, join }) => {
    assert.equal((await join(await invite(), 'box')).name, 'box');
    assert.equal((await join(await invite(), 'BOX.local')).name, 'box-2');
    assert.equal((await join(await invite({ name: 'db-1' }), 'box')).name, 'db-1');
    await assert.rejects(invite({ name: 'db-1' }), (error) => isFailure(error, 'exists'));
  }));

test('a key is renewed while the one before still counts, and the one before that does not', () =>
  withMachines(async ({ machines, invite, join }) => {
    const first = await join(await invite());
    const certificates = [new X509Certificate(first.certificatePem)];
    const principal = machines.authenticate({ shown: new X509Certificate(first.certificatePem), permission: 'machine.renew' });
    for (let round = 0; round < 2; round += 1) {
      const body = { publicKeyPem: makeKey() };
      const call = callOf<typeof table.machines.renew>({ params: {}, query: undefined, body, principal });
      certificates.push(new X509Certificate((await machines.handlers.machines.renew(call)).certificatePem));
    }
    const counts = certificates.map((certificate) => {
      try {
        return machines.authenticate({ shown: certificate, permission: 'agent.sync' }).kind;
      } catch (error) {
        assert.ok(isFailure(error, 'unauthenticated'));
        return 'nobody';
      }
    });
    assert.deepEqual(counts, ['nobody', 'node', 'node']);
  }));

test('a Node that was removed is nobody, whatever its certificate says', () =>
  withMachines(async ({ context, machines, invite, join }) => {
    const reply = await join(await invite());
    const stored = context.view.get(nodeSpecRecords, reply.nodeId);
    assert.ok(stored !== undefined);
    await context.view.commit(remove(nodeSpecRecords, stored));
    assert.throws(
      () => machines.authenticate({ shown: new X509Certificate(reply.certificatePem), permission: 'agent.sync' }),
      (error) => isFailure(error, 'unauthenticated') && error.details?.['removed'] === true,
    );
  }));

test('what is no P-256 public key is refused, a private one above all', () =>
  withMachines(async ({ invite, join }) => {
    const token = await invite();
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const wrong = [
      'key',
      generateKeyPairSync('ed25519').publicKey.export({ format: 'pem', type: 'spki' }).toString(),
      generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'pem', type: 'spki' }).toString(),
      privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    ];
    for (const pem of wrong) await assert.rejects(join(token, 'a', pem), (error) => isFailure(error, 'invalid_input'));
    assert.equal((await join(token)).roles.length, 1);
  }));

test('a machine of the control plane shows a certificate of the same authority, for both ends', () =>
  withMachines(async ({ machines }) => {
    const { identity } = machines.ownIdentity('first', ['control.libra.internal', '10.0.0.1', 'box']);
    const certificate = new X509Certificate(identity.certificatePem);
    assert.ok(certificate.checkPrivateKey(createPrivateKey(identity.keyPem)));
    assert.equal(certificate.checkHost('control.libra.internal'), 'control.libra.internal');
    assert.equal(certificate.checkIP('10.0.0.1'), '10.0.0.1');
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  }));

const gift = { masterKey: 'ab'.repeat(32), variables: { LIBRA_STORE: 'etcd://10.0.0.1:2379' }, storeLogin: 'libra:secret', storeTls: null };

test('a machine that was invited to be a control plane is given what that takes, once', () =>
  withMachines(
    async ({ context, machines, invite, join }) => {
      const { invitations, machines: handlers } = machines.handlers;
      const invited = await invitations.createControl(
        callOf<typeof table.invitations.createControl>({ params: {}, query: undefined, body: { name: 'two', expiresInMs: 60_000 } }),
      );
      assert.match(invited.token, /^libra_control_/u);
      const come = (token: string, publicKeyPem = makeKey()) =>
        handlers.joinControl(
          callOf<typeof table.machines.joinControl>({ params: {}, query: undefined, body: { token, hostname: 'box', publicKeyPem } }),
        );
      // Neither is good for the other.
      await assert.rejects(join(invited.token), forbidden);
      await assert.rejects(come(await invite()), forbidden);
      await assert.rejects(come(invited.token.replace('libra_control', 'libra_join')), forbidden);
      const key = makeKey();
      assert.deepEqual(await come(invited.token, key), { ...gift, name: 'two' });
      assert.deepEqual(await come(invited.token, key), { ...gift, name: 'two' }, 'the answer of a try that was broken off');
      await assert.rejects(come(invited.token), forbidden);
      const list = callOf<typeof table.invitations.list>({ params: {}, query: { limit: 10 }, body: undefined });
      const { items } = await invitations.list(list);
      assert.deepEqual(items.map(({ roles, usedBy }) => `${roles.join()}: ${usedBy}`).sort(), ['agent: null', 'control: a control plane']);
      const kept = JSON.stringify(context.view.list(invitationRecords));
      assert.ok(!kept.includes(gift.masterKey) && !kept.includes('secret') && !kept.includes(invited.token));
    },
    async () => gift,
  ));

test('where no other machine can be a control plane nobody is invited to be one', () =>
  withMachines(async ({ machines }) => {
    const call = callOf<typeof table.invitations.createControl>({ params: {}, query: undefined, body: { expiresInMs: 60_000 } });
    await assert.rejects(machines.handlers.invitations.createControl(call), (error) => isFailure(error, 'unsupported'));
  }));
