// The agent of this machine, on whatever machine: its drivers, the programs that it brings, and the way to control that it is given.

import { chmod, copyFile, mkdir, rename, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createAgent } from '../agent/agent.ts';
import type { Agent } from '../agent/agent.ts';
import type { AgentLink } from '../agent/link.ts';
import { BUILTIN_DRIVERS } from '../driver/builtin.ts';
import { prepareNode } from '../driver/process/folders.ts';
import type { Librad } from './librad-parts.ts';
import { openDocker } from './open-docker.ts';
import { programVersion, staticServerFile } from './program.ts';

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

/** Starts it; what it started is stopped with librad, Instances included unless they are kept. */
export async function startAgentRole(librad: Librad, options: { readonly link: AgentLink; readonly nodeName: string }): Promise<Agent> {
  const { settings, paths, keeper, clock, random, log, undo, forward } = librad;
  const nodeFolder = prepareNode(paths.node, process.execPath, settings.isRoot);
  const staticServer = settings.isRoot ? await publicCopy(staticServerFile, nodeFolder, basename(staticServerFile)) : staticServerFile;
  const driver = await BUILTIN_DRIVERS.process({ keeper, dataFolder: paths.node, clock, log });
  undo.push(() => driver.close());
  const docker = await openDocker(settings, { dataFolder: paths.node, clock, log });
  if (docker !== null) undo.push(() => docker.close());
  const agent = createAgent({
    link: options.link,
    drivers: { process: driver, ...(docker === null ? {} : { docker }) },
    ...(settings.drivers === null ? {} : { offered: settings.drivers }),
    dataFolder: paths.node,
    clock,
    random,
    log,
    nodeName: options.nodeName,
    ...(forward === undefined ? {} : { forward }),
    program: programVersion,
    builtinPrograms: { static: [join(nodeFolder, 'node'), '--disable-warning=ExperimentalWarning', staticServer] },
    searchPath: `${nodeFolder}:${settings.path}`,
  });
  await agent.start();
  undo.push(() => agent.stop({ stopInstances: !librad.keepsInstances() && !librad.comesBack() }));
  return agent;
}
