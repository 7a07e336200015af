# make demo: swap a face with what comes in the package. make test: everything that is checked.
# Both make their own .venv with plain pip where there is none.
PYTHON ?= $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || command -v python3)
PIP = .venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED = .venv/installed

.PHONY: demo test clean

demo: $(INSTALLED)
	.venv/bin/mien demo

test: $(INSTALLED)
	scripts/check

# torch first: with it in place, pip has no reason to look for a build with CUDA.
$(INSTALLED): pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) -e '.[dev,train]'
	touch $@

clean:
	rm -rf .venv out
