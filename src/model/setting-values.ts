// What texts of settings may be: each reads one and throws a Failure that names where it came from.

import { Failure } from '../lib/failure.ts';
import { parseDurationMs } from './duration.ts';
import { splitCommand } from './command.ts';
import { logTargetName, parseLogTarget } from './log-target.ts';

export function port(text: string, source: string): number {
  const value = Number(text);
  if (!/^\d{1,5}$/u.test(text) || value > 65_535) {
    throw new Failure('invalid_input', {
      message: `${source} must be a port from 0 to 65535, not ${JSON.stringify(text)}.`,
      hint: '0 takes a free one.',
    });
  }
  return value;
}

export function host(text: string, source: string): string {
  if (!/^[0-9A-Za-z.:-]{1,253}$/u.test(text))
    throw new Failure('invalid_input', { message: `${source} must be an IP address or host name, not ${JSON.stringify(text)}.` });
  return text;
}

export function oneOf<const T extends string>(...choices: readonly T[]): (text: string, source: string) => T {
  return (text, source) => {
    const found = choices.find((choice) => choice === text);
    if (found === undefined)
      throw new Failure('invalid_input', { message: `${source} must be one of ${choices.join(', ')}, not ${JSON.stringify(text)}.` });
    return found;
  };
}

export function seconds(text: string, source: string): number {
  if (!/^\d{1,6}(?:\.\d{1,3})?$/u.test(text))
    throw new Failure('invalid_input', { message: `${source} must be a number of seconds, not ${JSON.stringify(text)}.` });
  return Math.round(Number(text) * 1000);
}

export const label = (text: string, source: string): string => {
  if (!/^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/u.test(text)) {
    throw new Failure('invalid_input', { message: `${source} must be a lower-case host name, not ${JSON.stringify(text)}.` });
  }
  return text;
};

export function count(text: string, source: string): number {
  if (!/^[1-9]\d?$/u.test(text) || Number(text) > 64)
    throw new Failure('invalid_input', { message: `${source} must be a number from 1 to 64, not ${JSON.stringify(text)}.` });
  return Number(text);
}

/** How many of something, at least one. */
export function amount(of: string): (text: string, source: string) => number {
  return (text, source) => {
    if (!/^[1-9]\d{0,14}$/u.test(text))
      throw new Failure('invalid_input', { message: `${source} must be a number of ${of}, not ${JSON.stringify(text)}.` });
    return Number(text);
  };
}

/** Ranges of addresses; whoever uses them looks at them more closely. */
export function ranges(text: string, source: string): readonly string[] {
  const list = text.split(',').map((entry) => entry.trim());
  const wrong = list.find((entry) => !/^[0-9A-Fa-f.:]{2,45}(?:\/\d{1,3})?$/u.test(entry));
  if (wrong !== undefined || list.length > 256) {
    throw new Failure('invalid_input', {
      message: `${source} must be addresses or ranges such as 10.0.0.0/8, with commas between them, not ${JSON.stringify(wrong ?? text)}.`,
    });
  }
  return list;
}

/** An engine, or the members of an etcd cluster with the name of this platform there. */
export function storeUrl(text: string, source: string): string {
  const isEtcd =
    /^etcds?:\/\/(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}(?:,(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}){0,15}(?:\/[A-Za-z0-9][A-Za-z0-9._-]{0,62})?$/u;
  if (text !== 'sqlite' && text !== 'memory' && !isEtcd.test(text)) {
    throw new Failure('invalid_input', {
      message: `${source} must be sqlite, memory, or an etcd cluster such as etcd://10.0.0.1:2379,10.0.0.2:2379/libra, not ${JSON.stringify(text)}.`,
    });
  }
  return text;
}

/** A program and its words; whoever calls it adds more. */
export function argv(text: string, source: string): readonly string[] {
  const split = splitCommand(text);
  if (!split.ok) throw new Failure('invalid_input', { message: `${source} is no command: ${split.message}` });
  if (split.words.length === 0) throw new Failure('invalid_input', { message: `${source} names no program.` });
  return split.words;
}

export function email(text: string, source: string): string {
  if (!/^[^\s@,;<>]{1,64}@[^\s@,;<>]{1,190}$/u.test(text))
    throw new Failure('invalid_input', { message: `${source} must be one mail address, not ${JSON.stringify(text)}.` });
  return text;
}

export const path = (text: string, source: string): string => {
  if (text === '' || text.includes('\0')) throw new Failure('invalid_input', { message: `${source} must be a path.` });
  return text;
};

/** URLs of receivers, `%2C` for a comma in one. */
export function logTargets(text: string, source: string): readonly string[] {
  const list = text.split(',').map((entry) => entry.trim());
  const names = list.map((entry) => {
    const target = parseLogTarget(entry);
    if (typeof target !== 'string') return logTargetName(target);
    // It may hold a login.
    throw new Failure('invalid_input', {
      message: `${source} must be URLs such as https://logs.example.com/in or syslog://10.0.0.5, with commas between them: the one at place ${list.indexOf(entry) + 1} ${target}.`,
    });
  });
  if (new Set(names).size < names.length || list.length > 16)
    throw new Failure('invalid_input', { message: `${source} must be up to sixteen URLs, each of them once.` });
  return list;
}

/** At least so long as two heartbeats take. */
export function grace(text: string, source: string): number {
  const ms = seconds(text, source);
  if (ms < 10_000)
    throw new Failure('invalid_input', {
      message: `${source} must be 10 seconds or more, not ${text}.`,
      hint: 'Heartbeats come every five.',
    });
  return ms;
}

/** A time, or `forever`. */
export function keptFor(text: string, source: string): string {
  if (text !== 'forever' && parseDurationMs(text) === null)
    throw new Failure('invalid_input', { message: `${source} must be a time such as 7d or 12h, or forever, not ${JSON.stringify(text)}.` });
  return text;
}
