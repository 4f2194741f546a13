// `libra cp`: files and folders out of a running Instance, and into it.

import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import type { CopyEnd } from '../../api/agent.ts';
import { Failure } from '../../lib/failure.ts';
import { packCopy, readCopy } from '../../sys/copy-tar.ts';
import type { LeaveOut } from '../../sys/copy-tar.ts';
import { unpackCopy } from '../../sys/copy-unpack.ts';
import { openFolder } from '../../sys/open-folder.ts';
import { chooseInstance } from '../choose-instance.ts';
import type { Command, CommandContext } from '../command.ts';
import { copyDirection, copyEndpoint } from '../copy-place.ts';
import { openCopy } from '../copy-session.ts';
import { textOption } from '../options.ts';
import { counted, formatBytes, printable } from '../output.ts';

const PROGRESS_MS = 200;
const EXAMPLES = 10;

export const cp: Command = {
  summary: 'Copy files and folders out of a running Instance, or into it.',
  details:
    'Of an Instance: [app[/entrypoint]]:path, where a relative path counts from its work folder. As with cp, what is copied goes into a folder that is there, and otherwise gets the name that is given. Modes and links are kept; links are not followed, and those that lead out of what is copied are left out. `-` is a tar on standard input or output. A path of this machine with a colon begins with ./',
  example: 'libra cp shop/web:data/report.csv .',
  arguments: [
    { name: 'from', help: 'what is copied', required: true },
    { name: 'to', help: 'where to', required: true },
  ],
  options: [{ name: 'instance', value: 'id', help: 'this Instance: its id or the beginning of it; default: the first healthy one' }],
  run: async (input, context) => {
    const [from = '', to = ''] = ['from', 'to'].map((name) => input.arguments[name]?.[0] ?? '');
    const { direction, remote, other } = copyDirection(copyEndpoint(from), copyEndpoint(to));
    if (remote.app !== null && context.appFlag !== null && remote.app !== context.appFlag)
      throw new Failure('invalid_input', { message: `${remote.app} or ${context.appFlag}?`, hint: 'Name the App once.' });
    const params = { app: remote.app ?? (await context.app()), environment: context.environment };
    const instance = textOption(input, 'instance') ?? (await chooseInstance(await context.client(), params, remote.entrypoint));
    const copied = progress(context);
    const left = leftOut();
    // What is there is looked at before anything is asked for.
    const end =
      direction === 'out'
        ? await copyOut(context, { params: { ...params, instance }, path: remote.path }, other, { copied, left })
        : await copyIn(context, { params: { ...params, instance }, path: remote.path }, other, { copied, left });
    const count = end.leftOut + left.all().length;
    const examples = [...end.examples, ...left.all()];
    context.output.progress('');
    for (const { path, why } of examples.slice(0, EXAMPLES)) context.output.warn(`Left out: ${printable(path)} ${printable(why)}`);
    if (count > EXAMPLES) context.output.warn(`${count} were left out in all.`);
    // What a tar holds is known to whoever unpacks it; and standard output is the tar's.
    const { files = 0, bytes = 0 } = end;
    if (to === '-') context.output.note(`Copied a tar of ${amount(bytes)}.`);
    else {
      context.output.note(`Copied ${counted(files, 'file')}, ${amount(bytes)}.`);
      context.output.value({ from, to, instance, files, bytes, leftOut: count, examples });
    }
    return 0;
  },
};

interface Remote {
  readonly params: { readonly app: string; readonly environment: string; readonly instance: string };
  readonly path: string;
}

interface Watching {
  readonly copied: (tar: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;
  readonly left: ReturnType<typeof leftOut>;
}

type Other = { readonly kind: 'stream' } | { readonly kind: 'local'; readonly path: string };

async function copyOut(context: CommandContext, remote: Remote, other: Other, { copied, left }: Watching): Promise<CopyEnd> {
  const place = other.kind === 'stream' ? null : await localPlace(other.path, remote.path);
  const session = await openCopy(context, { params: remote.params, query: { path: remote.path, direction: 'out' } });
  try {
    const tar = copied(session.tar);
    let report: Partial<CopyEnd> = {};
    if (place === null) {
      let bytes = 0;
      for await (const chunk of tar) {
        bytes += chunk.length;
        await written(context.streams.output, chunk);
      }
      report = { bytes };
    } else {
      const folder = await openFolder(place.folder);
      try {
        report = await unpackCopy(readCopy(tar, { as: place.name, leaveOut: left.leaveOut, signal: context.signal }), folder, null);
      } finally {
        await folder.handle.close();
      }
    }
    return { ...(await session.end()), ...report };
  } finally {
    await session.close();
  }
}

async function copyIn(context: CommandContext, remote: Remote, other: Other, { copied, left }: Watching): Promise<CopyEnd> {
  if (other.kind === 'stream') {
    const session = await openCopy(context, { params: remote.params, query: { path: remote.path, direction: 'in', named: false } });
    try {
      await session.send(copied(context.streams.input));
      return await session.end();
    } finally {
      await session.close();
    }
  }
  const real = await realpath(other.path).catch((cause: unknown) => {
    throw new Failure('not_found', { message: `There is nothing at ${other.path}.`, cause });
  });
  const folder = await openFolder(dirname(real));
  try {
    const session = await openCopy(context, { params: remote.params, query: { path: remote.path, direction: 'in' } });
    try {
      const as = basename(resolve(other.path));
      await session.send(copied(packCopy(folder, basename(real), { as: as === '' ? 'files' : as, owner: null, leaveOut: left.leaveOut })));
      return await session.end();
    } finally {
      await session.close();
    }
  } finally {
    await folder.handle.close();
  }
}

/** As cp has it: into a folder that is there, else under that name beside what is there. `name` null: as it comes. */
async function localPlace(path: string, remotePath: string): Promise<{ readonly folder: string; readonly name: string | null }> {
  const isFolder = async (place: string): Promise<boolean> => (await stat(place).catch(() => null))?.isDirectory() === true;
  if (await isFolder(path)) {
    const name = basename(remotePath);
    return { folder: await realpath(path), name: name === '' || name === '.' || name === '..' ? null : name };
  }
  const parent = dirname(resolve(path));
  if (path.endsWith('/') || !(await isFolder(parent)))
    throw new Failure('not_found', { message: `There is no folder ${path.endsWith('/') ? path : parent}.` });
  return { folder: await realpath(parent), name: basename(path) };
}

function leftOut(): { readonly leaveOut: LeaveOut; readonly all: () => readonly { readonly path: string; readonly why: string }[] } {
  const all: { path: string; why: string }[] = [];
  return { leaveOut: (path, why) => void all.push({ path, why }), all: () => all };
}

/** Tells how much has passed. */
function progress(context: CommandContext): (tar: AsyncIterable<Uint8Array>) => AsyncGenerator<Uint8Array> {
  return async function* watched(tar) {
    let bytes = 0;
    let toldMs = Number.NEGATIVE_INFINITY;
    for await (const chunk of tar) {
      bytes += chunk.length;
      const nowMs = context.clock.monotonic();
      if (nowMs - toldMs >= PROGRESS_MS) {
        context.output.progress(`${formatBytes(bytes)} copied`);
        toldMs = nowMs;
      }
      yield chunk;
    }
  };
}

async function written(stream: NodeJS.WriteStream, chunk: Uint8Array): Promise<void> {
  await new Promise<void>((done, fail) => {
    stream.write(chunk, (error) => (error === null || error === undefined ? done() : fail(error)));
  });
}

/** In a sentence. */
function amount(bytes: number): string {
  return bytes < 1024 ? counted(bytes, 'byte') : `${formatBytes(bytes)}B`;
}
