// The receivers of Instances' output that the settings name.

import { readFile } from 'node:fs/promises';
import { openSink } from '../agent/forward/sink.ts';
import type { ForwardTarget } from '../agent/forward/forwarder.ts';
import type { Settings } from '../config.ts';
import { Failure, messageOf } from '../lib/failure.ts';
import { logTargetName, parseLogTarget } from '../model/log-target.ts';

/** Undefined where nothing is forwarded. Throws `invalid_input`. */
export async function openForwardTargets({
  logForward,
  logForwardHeaders,
}: Pick<Settings, 'logForward' | 'logForwardHeaders'>): Promise<readonly ForwardTarget[] | undefined> {
  const targets = (logForward ?? []).map((text) => {
    const target = parseLogTarget(text);
    if (typeof target === 'string') throw new Failure('invalid_input', { message: `A target of --log-forward ${target}.` });
    return target;
  });
  if (logForwardHeaders !== null && !targets.some(({ kind }) => kind === 'http')) {
    throw new Failure('invalid_input', {
      message: '--log-forward-headers means nothing without an http target.',
      hint: 'Add one to --log-forward, or leave it out.',
    });
  }
  if (targets.length === 0) return undefined;
  const headers = logForwardHeaders === null ? {} : await readHeaders(logForwardHeaders);
  return targets.map((target) => ({ name: logTargetName(target), sink: openSink(target, headers) }));
}

async function readHeaders(file: string): Promise<Readonly<Record<string, string>>> {
  const refuse = (problem: string): Failure =>
    new Failure('invalid_input', { message: `The file ${file} with headers for forwarded output ${problem}.` });
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw refuse(`cannot be read: ${messageOf(error)}`);
  }
  const headers = new Headers();
  for (const [index, line] of text.split(/\r?\n/u).entries()) {
    if (line.trim() === '') continue;
    const colon = line.indexOf(':');
    try {
      if (colon < 1) throw new Error('no colon');
      headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    } catch {
      // Without its text: it may hold a key.
      throw refuse(`has a line ${index + 1} that is no "Name: value"`);
    }
  }
  return Object.fromEntries(headers);
}
