// A machine that is a platform, or the beginning of one: control over its store, the Edge, and the agent, which reaches control on loopback.

import { readFile, rename, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Agent } from '../agent/agent.ts';
import { createHttpLink } from '../agent/http-link.ts';
import { createClient } from '../api/client.ts';
import { table } from '../api/table.ts';
import { openFileBlobs } from '../blob/files.ts';
import type { LocalAddresses } from '../cli/local-platform.ts';
import type { Settings } from '../config.ts';
import type { AcmeSettings } from '../control/context.ts';
import { createControl } from '../control/control.ts';
import { Failure, messageOf } from '../lib/failure.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { startAgentRole } from './agent-role.ts';
import { makeGift } from './control-gift.ts';
import { edgeMetrics } from './edge-metrics.ts';
import { holdEdgeRole } from './edge-role.ts';
import type { Librad } from './librad-parts.ts';
import { requireIdentity, writeIdentity } from './membership.ts';
import { openStore } from './open-store.ts';
import { programVersion } from './program.ts';

/** A host name as a label for a Node. */
function nodeLabel(name: string): string {
  const label = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/gu, '-')
    .replaceAll(/^-+|-+$/gu, '')
    .slice(0, 30)
    .replaceAll(/-+$/gu, '');
  return label === '' ? 'node' : label;
}

async function readTextIfThere(path: string): Promise<string | null> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    return null;
  }
}

/** Resolves when all of it serves. */
export async function startControlPlane(librad: Librad): Promise<Omit<LocalAddresses, 'pid' | 'version'>> {
  const { settings, paths, clock, random, log, undo, startedAtMs } = librad;

  librad.onProgress('Opening the store');
  const { store, engine, isShared } = await openStore(settings, { file: paths.store, clock });
  undo.push(() => store.close());
  const blobs = await openFileBlobs({ folder: paths.blobs, maxBytes: settings.bundleBytes ?? 1024 ** 3, clock });
  undo.push(() => blobs.close());

  librad.onProgress('Starting the Edge');
  const edge = await holdEdgeRole(librad, 'local', { hasRoutes: true });

  librad.onProgress('Starting control');
  const domain = settings.domain ?? 'localhost';
  const nodeName = settings.nodeName ?? nodeLabel(hostname());
  let identity: MachineIdentity | null = null;
  let agent: Agent | null = null;
  const control = createControl({
    store,
    isShared,
    storeEngine: engine,
    blobs,
    clock,
    random,
    log,
    masterKeyFile: paths.masterKey,
    settings: {
      version: programVersion,
      domain,
      publicScheme: 'http',
      publicPort: edge.ports.http,
      publicHttpsPort: edge.ports.https,
      apiThroughEdge: settings.edgeApi !== 'off',
      acme: acmeSettings(settings),
      bundleBytes: settings.bundleBytes ?? 1024 ** 3,
      nodeGraceMs: settings.nodeGraceMs ?? 30_000,
      retainEndedMs: settings.retainEndedMs ?? 86_400_000,
      retainReleases: 10,
      kv: { keys: settings.kvKeys ?? 10_000, bytes: settings.kvBytes ?? 16 * 1024 ** 2, valueBytes: 64 * 1024 },
    },
    nodeName,
    gift: () => makeGift(settings, paths.masterKey),
    ownerSecret: await readTextIfThere(paths.ownerToken),
    furtherMetrics: () => edgeMetrics(edge.sockets),
    addresses: () => ({
      edge: `${edge.host}:${edge.ports.http}`,
      edgeTls: `${edge.host}:${edge.ports.https}`,
      apiProxy: edge.apiProxyUrl,
    }),
    onIdentity: (next) => {
      identity = next;
      agent?.renewIdentity();
      writeIdentity(paths, next).catch((error: unknown) =>
        log.error({ error: messageOf(error) }, 'the certificate of this machine could not be kept'),
      );
    },
    onShutdown: librad.end,
  });
  const started = await control.start({
    host: settings.apiHost ?? '127.0.0.1',
    port: settings.apiPort ?? 7400,
    ...(settings.apiTlsHost === null ? {} : { tls: { host: settings.apiTlsHost, port: settings.apiTlsPort ?? 7401 } }),
  });
  undo.push(() => control.stop());
  undo.push(edge.onEnded((edgeId) => started.edgeEnded(edgeId)));
  await writeFile(`${paths.ownerToken}.new`, `${started.ownerToken}\n`, { mode: 0o600 });
  await rename(`${paths.ownerToken}.new`, paths.ownerToken);
  librad.lock.describe({ pid: process.pid, startedAtMs, apiUrl: started.url });

  librad.onProgress('Starting the agent');
  const token = started.nodeToken;
  const link = createHttpLink({ client: createClient(table, { url: started.url, token }), url: () => started.url, token: () => token });
  const own = (): MachineIdentity => identity ?? requireIdentity(paths);
  const address = settings.apiTlsHost === null ? null : (settings.nodeAddress ?? settings.apiTlsHost);
  agent = await startAgentRole(librad, { link, nodeName, identity: own, address, apiProxyUrl: edge.apiProxyUrl });

  await edge.serve({ url: started.url, token: started.edgeToken }, started.nodeId);
  return { api: started.url, apps: `http://<app>.${domain}${edge.ports.http === 80 ? '' : `:${edge.ports.http}`}` };
}

function acmeSettings({ acme, acmeEmail, acmeDnsHook, acmeResolvers, path, home }: Settings): AcmeSettings | null {
  if (acme === null || acme === 'off') {
    const given = { '--acme-email': acmeEmail, '--acme-dns-hook': acmeDnsHook, '--acme-resolvers': acmeResolvers };
    const [idle = null] = Object.entries(given).flatMap(([name, value]) => (value === null ? [] : [name]));
    if (idle === null) return null;
    throw new Failure('invalid_input', {
      message: `${idle} means nothing without an authority.`,
      hint: 'Add --acme letsencrypt, or leave it out.',
    });
  }
  // What it needs beyond that it reads from a file of its own.
  const dnsHook = acmeDnsHook === null ? null : { argv: acmeDnsHook, env: { PATH: path, HOME: home } };
  return { directory: acme, email: acmeEmail, dnsHook, resolvers: acmeResolvers ?? [] };
}
