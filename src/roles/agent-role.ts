// The agent of this machine, on whatever machine: its drivers, the programs that it brings, and the way to control that it is given.

import { chmod, copyFile, mkdir, rename, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { createAgent } from '../agent/agent.ts';
import type { Agent } from '../agent/agent.ts';
import type { AgentDataPortOptions } from '../agent/data-port.ts';
import type { AgentLink } from '../agent/link.ts';
import { BUILTIN_DRIVERS } from '../driver/builtin.ts';
import { prepareNode } from '../driver/process/folders.ts';
import { Failure } from '../lib/failure.ts';
import { parseDurationMs } from '../model/duration.ts';
import { API_PROXY_HOST } from '../model/service-policy.ts';
import { isEverywhere, outerAddress } from '../sys/own-address.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import type { Librad } from './librad-parts.ts';
import { insidePort } from './inside-port.ts';
import { openDocker } from './open-docker.ts';
import { trustedNetwork } from './trusted-network.ts';
import { programVersion, staticServerFile } from './program.ts';

const DATA_PORT = 7402;

/** As root the users of Apps must be able to read the static server, which may lie in a private home: they get a copy. */
async function publicCopy(from: string, folder: string, name: string): Promise<string> {
  const target = join(folder, name);
  const [source, existing] = await Promise.all([stat(from), stat(target).catch(() => null)]);
  if (existing === null || existing.size !== source.size || existing.mtimeMs < source.mtimeMs) {
    await mkdir(folder, { recursive: true, mode: 0o755 });
    await copyFile(from, `${target}.new`);
    await chmod(`${target}.new`, 0o755);
    await rename(`${target}.new`, target);
  }
  return target;
}

export interface AgentRoleOptions {
  readonly link: AgentLink;
  readonly nodeName: string;
  /** Who this machine is. */
  readonly identity: () => MachineIdentity;
  /** The address by which other machines reach it; null: there are none. */
  readonly address: string | null;
  /** On loopback: what has a network of its own does not get there. */
  readonly apiProxyUrl: string;
}

/** Starts it; what it started is stopped with librad, Instances included unless they are kept. */
export async function startAgentRole(librad: Librad, options: AgentRoleOptions): Promise<Agent> {
  const { settings, paths, keeper, clock, random, log, undo, forward } = librad;
  const nodeFolder = prepareNode(paths.node, process.execPath, settings.isRoot);
  const staticServer = settings.isRoot ? await publicCopy(staticServerFile, nodeFolder, basename(staticServerFile)) : staticServerFile;
  const driver = await BUILTIN_DRIVERS.process({ keeper, dataFolder: paths.node, nodeBinary: process.execPath, clock, log });
  undo.push(() => driver.close());
  const docker = await openDocker(settings, { dataFolder: paths.node, ownFolder: paths.data, clock, log });
  if (docker !== null) undo.push(() => docker.close());
  const { address, identity } = options;
  const dataPort = address === null ? null : dataPortOf(identity, address, settings.dataPort ?? DATA_PORT);
  const reached = dataPort === null ? null : (dataPort.advertised ?? dataPort.host);
  const isTrusted = reached !== null && trustedNetwork(settings.trustedNetwork ?? []).has(reached);
  if (settings.trustedNetwork !== null && !isTrusted)
    log.warn({ address: reached }, 'this machine has no address for others in the trusted network; its Instances listen on loopback');
  const agent = createAgent({
    link: options.link,
    drivers: { process: driver, ...(docker === null ? {} : { docker }) },
    ...(settings.drivers === null ? {} : { offered: settings.drivers }),
    dataFolder: paths.node,
    clock,
    random,
    log,
    nodeName: options.nodeName,
    identity,
    apiProxy: { url: options.apiProxyUrl, insideUrl: docker === null ? null : insideUrl() },
    ...(docker === null ? {} : { callersFile: paths.containerCallers }),
    ...(dataPort === null ? {} : { dataPort }),
    ...(isTrusted ? { address: reached } : {}),
    ...(forward === undefined ? {} : { forward }),
    // null is what `forever` is as a time.
    ...(settings.keepVolumes === null ? {} : { keepVolumesMs: parseDurationMs(settings.keepVolumes) }),
    program: programVersion,
    builtinPrograms: { static: [join(nodeFolder, 'node'), '--disable-warning=ExperimentalWarning', staticServer] },
    searchPath: `${nodeFolder}:${settings.path}`,
  });
  try {
    await agent.start();
  } catch (error) {
    throw listenFailure(error, address ?? '', settings.dataPort ?? DATA_PORT);
  }
  undo.push(() => agent.stop({ stopInstances: !librad.keepsInstances() && !librad.comesBack() }));
  return agent;
}

function insideUrl(): string {
  const port = insidePort();
  return `http://${API_PROXY_HOST}${port === 80 ? '' : `:${port}`}`;
}

function dataPortOf(identity: () => MachineIdentity, address: string, port: number): AgentDataPortOptions {
  if (!isEverywhere(address)) return { identity, host: address, port };
  return { identity, host: address, port, advertised: outerAddress() ?? hostname() };
}

function listenFailure(error: unknown, address: string, port: number): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (code === 'EADDRINUSE') {
    return new Failure('port_taken', {
      message: `Port ${port} of ${address}, for Edges on other machines, is in use by another process.`,
      hint: 'Choose another one with --data-port (0 takes a free one).',
      details: { port, host: address },
      cause: error,
    });
  }
  if (code === 'EADDRNOTAVAIL' || code === 'EACCES' || code === 'ENOTFOUND') {
    return new Failure('invalid_input', {
      message: `The data port cannot be opened on ${address}:${port}: ${code === 'EACCES' ? 'no permission' : 'no such address on this machine'}.`,
      hint: 'Choose others with --node-address and --data-port.',
      cause: error,
    });
  }
  return error;
}
