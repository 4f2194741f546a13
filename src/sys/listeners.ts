// Who listens where, as /proc tells (proc_pid_net(5)): for “port in use by …” and “listens on 3000 instead of 20011”.

import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { listPids, readProcessStat } from './process-identity.ts';

export interface ListeningSocket {
  readonly address: string;
  readonly port: number;
  readonly inode: string;
}

const LISTEN = '0A';

/** `0100007F` → 127.0.0.1; 32 hex digits → an IPv6 address. The kernel prints 32-bit words in the machine's (little-endian) order. */
export function decodeAddress(hex: string): string {
  const words = hex.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((word) => (word.match(/../g) ?? []).reverse().map((byte) => Number.parseInt(byte, 16)));
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.every((byte) => byte === 0)) return '::';
  if (bytes.slice(0, 15).every((byte) => byte === 0) && bytes[15] === 1) return '::1';
  if (bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff) return bytes.slice(12).join('.');
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2) groups.push((((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)).toString(16));
  return groups.join(':');
}

/** Listening TCP sockets of the network namespace that `pid` lives in (default: ours). */
export function listListening(pid: number | 'self' = 'self'): ListeningSocket[] {
  const found: ListeningSocket[] = [];
  for (const table of ['tcp', 'tcp6']) {
    let text: string;
    try {
      text = readFileSync(`/proc/${pid}/net/${table}`, 'latin1');
    } catch {
      continue;
    }
    for (const line of text.split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      const [address, port] = (fields[1] ?? '').split(':');
      if (fields[3] !== LISTEN || address === undefined || port === undefined) continue;
      found.push({ address: decodeAddress(address), port: Number.parseInt(port, 16), inode: fields[9] ?? '' });
    }
  }
  return found;
}

/** Inodes of the sockets that a process holds; empty where it may not be looked at. */
export function socketInodes(pid: number): Set<string> {
  const inodes = new Set<string>();
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return inodes;
  }
  for (const name of names) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${name}`))?.[1];
      if (inode !== undefined) inodes.add(inode);
    } catch {
      // Closed since the listing.
    }
  }
  return inodes;
}

/** File name of the program that a process runs; threads may have renamed the process itself. */
function programName(pid: number): string {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`));
  } catch {
    return readProcessStat(pid)?.name ?? '?';
  }
}

/** The process that listens on a port of this machine; null when nobody does or it may not be seen. */
export function describeListener(port: number): { readonly pid: number; readonly name: string; readonly text: string } | null {
  const wanted = new Set(
    listListening()
      .filter((socket) => socket.port === port)
      .map((socket) => socket.inode),
  );
  if (wanted.size === 0) return null;
  for (const pid of listPids()) {
    for (const inode of socketInodes(pid)) {
      if (!wanted.has(inode)) continue;
      const name = programName(pid);
      return { pid, name, text: `process ${pid} (${name})` };
    }
  }
  return null;
}
