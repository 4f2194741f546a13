// Python programs: packages go into a folder of the bundle (a virtual environment would link to the machine's Python and could not move).

import type { Draft, Finding, FolderView } from './detect-draft.ts';

/** Where packages are installed; PYTHONPATH points there. */
const PACKAGES = '.libra-python';

const PROGRAM_FILES: readonly string[] = ['app.py', 'main.py', 'server.py', 'wsgi.py', 'asgi.py'];

export function detectPython(folder: FolderView): Draft | null {
  const start = djangoStart(folder) ?? programStart(folder);
  if (start === null) return null;
  const build = pythonBuildOf(folder);
  return {
    build: { commands: build?.commands ?? [] },
    env: build?.env ?? {},
    entrypoints: [{ name: 'web', command: start.command }],
    findings: [...(build?.findings ?? []), { what: `web: ${start.command.join(' ')}`, why: start.why }],
  };
}

/** The commands and variables that install packages, for Procfiles as well. */
export function pythonBuildOf(folder: FolderView): {
  readonly commands: readonly (readonly string[])[];
  readonly env: Readonly<Record<string, string>>;
  readonly findings: readonly Finding[];
} | null {
  const install = ['python3', '-m', 'pip', 'install', '--target', PACKAGES];
  const env = { PYTHONPATH: PACKAGES, PYTHONUNBUFFERED: '1' };
  const found = (rest: readonly string[], why: string) => ({
    commands: [[...install, ...rest]],
    env,
    findings: [{ what: `build: pip install ${rest.join(' ')} into ${PACKAGES}`, why }],
  });
  if (folder.files.includes('requirements.txt')) return found(['-r', 'requirements.txt'], 'there is a requirements.txt');
  const project = folder.files.includes('pyproject.toml') ? folder.read('pyproject.toml') : null;
  return project !== null && /^\[project\]/mu.test(project) ? found(['.'], 'pyproject.toml describes a project') : null;
}

interface Start {
  readonly command: readonly string[];
  readonly why: string;
}

function names(folder: FolderView, packageName: string): boolean {
  const text = `${folder.read('requirements.txt') ?? ''}\n${folder.read('pyproject.toml') ?? ''}`;
  return new RegExp(`(?:^|["'\\s])(?:${packageName})(?![\\w-])`, 'imu').test(text);
}

function djangoStart(folder: FolderView): Start | null {
  if (!folder.files.includes('manage.py')) return null;
  const wsgi = folder.files.find((file) => /^\w+\/wsgi\.py$/u.test(file));
  if (wsgi !== undefined && names(folder, 'gunicorn')) {
    const module = wsgi.slice(0, -3).replaceAll('/', '.');
    return {
      command: ['python3', '-m', 'gunicorn', module, '--bind', '${HOST}:${PORT}'],
      why: `there is manage.py and ${wsgi}, and gunicorn is among the packages`,
    };
  }
  return {
    command: ['python3', 'manage.py', 'runserver', '${HOST}:${PORT}', '--noreload'],
    why: 'there is manage.py; name gunicorn in requirements.txt for a server that is meant for production',
  };
}

function programStart(folder: FolderView): Start | null {
  const file = PROGRAM_FILES.find((name) => folder.files.includes(name));
  if (file === undefined) return null;
  const text = folder.read(file) ?? '';
  const module = file.slice(0, -3);
  const asgi = variableOf(text, ['FastAPI', 'Starlette', 'Quart', 'Litestar']);
  if (asgi !== null && names(folder, 'uvicorn|fastapi(?:\\[\\w+\\])?')) {
    return {
      command: ['python3', '-m', 'uvicorn', `${module}:${asgi}`, '--host', '${HOST}', '--port', '${PORT}'],
      why: `${file} makes an ASGI application named ${asgi}`,
    };
  }
  const wsgi = variableOf(text, ['Flask', 'Bottle']);
  if (wsgi !== null && names(folder, 'gunicorn')) {
    return {
      command: ['python3', '-m', 'gunicorn', `${module}:${wsgi}`, '--bind', '${HOST}:${PORT}'],
      why: `${file} makes a WSGI application named ${wsgi}, and gunicorn is among the packages`,
    };
  }
  if (wsgi !== null && /\bFlask\(/u.test(text)) {
    return {
      command: ['python3', '-m', 'flask', '--app', module, 'run', '--host', '${HOST}', '--port', '${PORT}'],
      why: `${file} makes a Flask application; name gunicorn in requirements.txt for a server that is meant for production`,
    };
  }
  return { command: ['python3', file], why: `there is ${file}` };
}

/** The variable at the start of a line that one of these classes is called for. */
function variableOf(text: string, classes: readonly string[]): string | null {
  const match = new RegExp(`^(\\w+)(?:\\s*:\\s*\\w+)?\\s*=\\s*(?:\\w+\\.)?(?:${classes.join('|')})\\(`, 'mu').exec(text);
  return match?.[1] ?? null;
}
