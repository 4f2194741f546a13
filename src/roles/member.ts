// A machine that joined a platform: its agent and its Edge reach control over TLS and show their certificate, which is renewed with a new
// key when half of its time is over. Only this side opens connections.

import type { Agent } from '../agent/agent.ts';
import { createHttpLink } from '../agent/http-link.ts';
import { createClient } from '../api/client.ts';
import { agent } from '../api/agent.ts';
import { blobs } from '../api/endpoints/blobs.ts';
import { machines } from '../api/machines.ts';
import type { LocalAddresses } from '../cli/local-platform.ts';
import { SETTINGS } from '../config.ts';
import { Failure, messageOf } from '../lib/failure.ts';
import { startLoop } from '../lib/loop.ts';
import { createTlsFetch } from '../sys/http-fetch.ts';
import { addressTowards } from '../sys/own-address.ts';
import { createControlWays, fetchOverWays } from '../tunnel/control-ways.ts';
import { controlParty } from '../tunnel/identity.ts';
import { startAgentRole } from './agent-role.ts';
import type { EdgeConnection } from './data-plane-process.ts';
import { holdEdgeRole } from './edge-role.ts';
import type { Librad } from './librad-parts.ts';
import { isOver, makeMachineKey, renewAtMs, requireIdentity, writeIdentity, writeMembership, isRemoved } from './membership.ts';
import type { Membership } from './membership.ts';

const RENEWAL_LOOK_MS = 3_600_000;
const RENEWAL_RETRY_MS = 60_000;
const LEARN_EVERY_MS = 60_000;
const LEARN_RETRY_MS = 5_000;
/** So long the start waits to be told that all is in vain. */
const ASK_MS = 3_000;

/** Resolves when all that it runs has been started; control need not answer. */
export async function startMember(librad: Librad, membership: Membership): Promise<Omit<LocalAddresses, 'pid' | 'version'>> {
  const { settings, paths, clock, log, undo, startedAtMs } = librad;
  const { name, nodeId, roles } = membership;
  const [url] = membership.urls;
  const idle = (['store', 'apiTlsHost', 'acme', 'domain'] as const).find((setting) => settings[setting] !== null);
  if (idle !== undefined) {
    throw new Failure('invalid_input', {
      message: `--${SETTINGS[idle].flag} means nothing here: this machine is Node ${name} of the platform at ${url}.`,
      hint: 'It is a matter of the control plane. Leave it out.',
    });
  }
  let identity = requireIdentity(paths);
  if (isOver(identity, clock.now())) {
    throw new Failure('unauthenticated', {
      message: `The certificate of this machine is over: it was off for too long.`,
      hint: 'Let it join anew: libra nodes invite, on the platform, and libra join, here.',
    });
  }
  let party = controlParty(identity);
  const ways = createControlWays(membership.urls);
  const fetch = fetchOverWays(
    ways,
    createTlsFetch(() => party),
  );
  const client = createClient({ agent, blobs, machines }, { url: 'https://control', token: null, fetch, clock });

  let agentRole: Agent | null = null;
  const renewal = startLoop({
    clock,
    everyMs: RENEWAL_LOOK_MS,
    errorDelayMs: RENEWAL_RETRY_MS,
    onError: (error) => log.warn({ error: messageOf(error) }, 'the certificate of this machine could not be renewed; it is tried again'),
    run: async (signal) => {
      if (clock.now() < renewAtMs(identity)) return;
      const { publicKeyPem, keyPem } = makeMachineKey();
      const reply = await client.machines.renew({ body: { publicKeyPem }, signal });
      const next = { nodeId, authorityPem: reply.authorityPem, certificatePem: reply.certificatePem, keyPem };
      await writeIdentity(paths, next);
      identity = next;
      party = controlParty(next);
      agentRole?.renewIdentity();
      log.info({}, 'the certificate of this machine was renewed');
    },
  });
  undo.push(() => renewal.stop());
  librad.lock.describe({ pid: process.pid, startedAtMs, apiUrl: url });

  const address = await ownAddress(librad, membership);

  // Apps call Services through the API Proxy of their own machine, whether clients come here or not.
  librad.onProgress(roles.includes('edge') ? 'Starting the Edge' : 'Starting the API Proxy');
  const edge = await holdEdgeRole(librad, nodeId, { hasRoutes: roles.includes('edge') });
  if (roles.includes('agent')) {
    librad.onProgress('Starting the agent');
    const link = createHttpLink({ client, url: () => ways.current(), token: () => null, tls: () => party });
    const own = { identity: () => identity, address: settings.nodeAddress ?? address, apiProxyUrl: edge.apiProxyUrl };
    agentRole = await startAgentRole(librad, { link, nodeName: name, ...own });
  }
  const edgeConnection = (): EdgeConnection => ({ urls: ways.all(), identityFile: paths.identity });
  await edge.serve(edgeConnection(), nodeId);
  const learning = startLoop({
    clock,
    everyMs: LEARN_EVERY_MS,
    errorDelayMs: LEARN_RETRY_MS,
    onError: (error) => log.debug({ error: messageOf(error) }, 'the control planes could not be asked for'),
    run: async (signal) => {
      const { urls } = await client.machines.controls({ signal });
      if (!ways.learn(urls)) return;
      log.info({ urls }, 'the control planes are known anew');
      const others = ways.all().filter((each) => each !== ways.current());
      await writeMembership(paths, { ...membership, address, urls: [ways.current(), ...others] });
      edge.reconnect(edgeConnection());
    },
  });
  undo.push(() => learning.stop());
  return {
    api: url,
    apps: roles.includes('edge') ? `${edge.host}:${edge.ports.http}` : '',
    node: name,
    ...((await isRemoved(() => client.machines.controls({ timeoutMs: ASK_MS })))
      ? {
          warning: `This machine is no Node of ${url} any more: it was removed there, and what it ran is stopped. Invite it anew, and join.`,
        }
      : {}),
  };
}

/** Machines get other addresses; where the way cannot be found now, the one of before may still hold. */
async function ownAddress({ paths, clock, log }: Librad, membership: Membership): Promise<string> {
  try {
    const address = await addressTowards(membership.urls[0], clock);
    if (address !== membership.address) await writeMembership(paths, { ...membership, address });
    return address;
  } catch (error) {
    log.warn(
      { error: messageOf(error), address: membership.address },
      'the way to the platform is not known; the address of before is taken',
    );
    return membership.address;
  }
}
