"""Keeps uploaded files and gives them back."""

import os
from pathlib import Path

import schedule
from flask import Flask, abort, request, send_from_directory
from werkzeug.utils import secure_filename

UPLOADS = Path(os.environ.get("UPLOAD_FOLDER", "uploads")).resolve()
app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 32 << 20


@app.get("/")
def index() -> str:
    """Greet."""
    return "It works, and it is ours.\n"


@app.post("/files")
def upload() -> str:
    """Keep a file."""
    file = request.files["file"]
    UPLOADS.mkdir(exist_ok=True)
    file.save(UPLOADS / secure_filename(file.filename or "nameless"))
    return "kept\n"


@app.get("/files/<name>")
def download(name: str):
    """Give a file back."""
    return send_from_directory(UPLOADS, name)


@app.get("/schedule/<task>")
def last_run(task: str) -> str:
    """Say when a task ran last."""
    return f"{schedule.last_run(task) or abort(404):.0f}\n"
