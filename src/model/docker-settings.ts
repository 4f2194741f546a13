// Settings of a Node about containers, as people write them.

import { Failure } from '../lib/failure.ts';

/** Where a Docker engine listens, or whether one is looked for at all. */
export function dockerEngine(text: string, source: string): string {
  if (text !== 'auto' && text !== 'off' && !/^unix:\/\/\/|^tcp:\/\//u.test(text)) {
    throw new Failure('invalid_input', {
      message: `${source} must be auto, off, unix:///path or tcp://host:port, not ${JSON.stringify(text)}.`,
    });
  }
  return text;
}

export function driverNames(text: string, source: string): readonly string[] {
  const names = text.split(',').map((name) => name.trim());
  if (!names.every((name) => name === 'process' || name === 'docker'))
    throw new Failure('invalid_input', { message: `${source} must be process, docker or process,docker, not ${JSON.stringify(text)}.` });
  return names;
}

export function dockerSubnets(text: string, source: string): string {
  const match = /^(?:\d{1,3}\.){3}\d{1,3}\/(\d{1,2})$/u.exec(text);
  if (match === null || Number(match[1]) < 8 || Number(match[1]) > 24)
    throw new Failure('invalid_input', {
      message: `${source} must be an IPv4 range from /8 to /24, such as 10.212.0.0/14, not ${JSON.stringify(text)}.`,
    });
  return text;
}
