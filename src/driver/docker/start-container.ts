// From a spec to a container that runs: at most one for each key, and nothing of it left where it cannot be started.

import { realpath } from 'node:fs/promises';
import { Failure, messageOf } from '../../lib/failure.ts';
import type { ContainerPart, RunSpec } from '../contract.ts';
import { containerBody, mountsOf, searchPath } from './container-body.ts';
import type { Engine, ImageFacts } from './engine.ts';
import { engineStatus, orNull } from './engine-http.ts';
import { textOf } from './fields.ts';
import { createCommandFinder } from './find-command.ts';
import { containerName } from './handle.ts';
import { NO_ACCESS, resolveHost } from './host-access.ts';
import type { HostAccess } from './host-access.ts';
import { giveMounts, idsOfUser } from './image-user.ts';
import type { Ids } from './image-user.ts';
import type { Network, Networks } from './networks.ts';

export interface ContainerStartDeps {
  readonly engine: Engine;
  readonly networks: Networks;
  readonly platform: string;
  /** Of an App whose program comes as a folder; null: our own. */
  readonly userOf: (appId: string) => Ids | null;
  /** Of librad and of the engine: no container gets them. */
  readonly ownPaths: readonly string[];
  /** Numbers of cores as the kernel has them. */
  readonly cpusOf: (cores: readonly number[]) => readonly number[];
}

/** The engine's whole answer about a container; null: it is gone. */
export const findContainer = (engine: Engine, idOrName: string): Promise<unknown> => orNull(engine.inspectContainer(idOrName));

const START_HINTS: readonly (readonly [RegExp, string])[] = [
  [/no available IPv4 addresses/u, 'A Node runs at most 253 containers of one App in one Environment: add a Node.'],
  [/\/proc\/sys\/\S+: /u, 'The kernel of this Node does not take that setting: see `container: { sysctls }` in the manifest.'],
];

/** Docker's answer to a start as a reason; what it did not answer at all stays unclear. */
function startFailure(error: unknown, spec: RunSpec): unknown {
  const status = engineStatus(error);
  // A name that is taken: another try finds whose it is.
  if (status === null || status === 409) return error;
  const message = messageOf(error);
  const [word = ''] = spec.argv;
  const isMissing = /executable file not found|no such file or directory|permission denied/iu.test(message) && /exec/u.test(message);
  const isTaken = /address already in use|port is already allocated/u.test(message);
  return new Failure('start_failed', {
    message: isMissing ? `“${word}” could not be started: ${message}` : `The container could not be started: ${message}`,
    hint: START_HINTS.find(([form]) => form.test(message))?.[1],
    details: { reason: isMissing ? 'command_not_found' : isTaken ? 'port_taken' : 'driver_error' },
    cause: error,
  });
}

/** Starts the container of the spec's key, or finds the one that was started before. Answers its id. */
export function createContainerStart(deps: ContainerStartDeps): (spec: RunSpec, part: ContainerPart) => Promise<string> {
  const { engine, networks, platform } = deps;
  const isFound = createCommandFinder(engine);

  const prepareMounts = async (container: string, part: ContainerPart, image: ImageFacts): Promise<void> => {
    if (part.workFolder !== null || part.mounts.length === 0) return;
    const ids = await idsOfUser(engine, container, image.user);
    if (ids === null) {
      throw new Failure('start_failed', {
        message: `The image ${part.image} runs as “${image.user}”, whom its own /etc/passwd does not know.`,
        hint: 'Name its user by number in the Dockerfile, such as `USER 1000:1000`: volumes and secret files are given to that user.',
        details: { reason: 'driver_error' },
      });
    }
    await giveMounts(
      part.mounts.map(({ source }) => source),
      ids,
    );
  };

  const make = async (spec: RunSpec, part: ContainerPart, network: Network, access: HostAccess): Promise<string> => {
    const image = await engine.image(part.image);
    if (image === null) {
      throw new Failure('start_failed', {
        message: `The image ${part.image} is not there (any more).`,
        hint: 'It is fetched again at the next try.',
        details: { reason: 'driver_error' },
      });
    }
    const own = deps.userOf(spec.appId) ?? { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
    const user = part.workFolder === null ? null : `${own.uid}:${own.gid}`;
    const cpus = spec.cores === null ? null : deps.cpusOf(spec.cores);
    const body = containerBody({ spec, part, image, platform, access, network, user, cpus });
    const container = await engine.createContainer(containerName(platform, spec.key), body);
    try {
      const [word] = spec.argv;
      const workFolder = part.workFolder ?? image.workingFolder;
      const path = searchPath(spec, part, image);
      const mounted = [...mountsOf(part, image), ...access.folders].map(({ target }) => target);
      if (word !== undefined && !(await isFound({ container, imageId: image.id, word, workFolder, path, mounted }))) {
        throw new Failure('start_failed', {
          message: `“${word}” was not found in ${part.image}.`,
          hint: 'Check its spelling; without a command the image runs its own.',
          details: { reason: 'command_not_found', command: word },
        });
      }
      await prepareMounts(container, part, image);
    } catch (error) {
      await engine.removeContainer(container);
      throw error;
    }
    return container;
  };

  /** One that asks for something of the machine starts alone: what it is given is as it was found until it runs. */
  let hostTurn: Promise<unknown> = Promise.resolve();
  const withAccess = (part: ContainerPart, work: (access: HostAccess) => Promise<string>): Promise<string> => {
    const host = part.options?.host;
    if (host === undefined) return work(NO_ACCESS);
    const going = hostTurn.then(async () => {
      const [{ rootFolder }, writable] = await Promise.all([engine.facts(), engine.writableFolders()]);
      const real = (path: string): Promise<string> => realpath(path).catch(() => path);
      const own = [...deps.ownPaths, ...(rootFolder === '' ? [] : [rootFolder])];
      return work(
        await resolveHost(host, {
          granted: part.granted ?? [],
          own: await Promise.all(own.map(real)),
          writable: await Promise.all(writable.map(real)),
        }),
      );
    });
    hostTurn = going.catch(() => undefined);
    return going;
  };

  const begin = async (spec: RunSpec, part: ContainerPart, network: Network): Promise<string> => {
    const found = await findContainer(engine, containerName(platform, spec.key));
    if (found !== null && textOf(found, 'State', 'Status') !== 'created') return textOf(found, 'Id') ?? '';
    const made = textOf(found, 'Id');
    // What it would be given was found out before somebody was killed: it is found out anew.
    if (made !== null && part.options?.host !== undefined) await engine.removeContainer(made);
    else if (made !== null) return run(made);
    return withAccess(part, async (access) => run(await make(spec, part, network, access)));
  };

  const run = async (container: string): Promise<string> => {
    try {
      await engine.startContainer(container);
    } catch (error) {
      if (engineStatus(error) === null) throw error;
      await engine.removeContainer(container);
      throw error;
    }
    return container;
  };

  return async (spec, part) => {
    try {
      return await networks.using(part.group, (network) => begin(spec, part, network));
    } catch (error) {
      if (!/network .* not found/u.test(messageOf(error))) throw startFailure(error, spec);
      // Somebody else removed it.
      networks.forget(part.group);
      return networks.using(part.group, (network) => begin(spec, part, network));
    }
  };
}
