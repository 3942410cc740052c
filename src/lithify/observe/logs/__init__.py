"""The parts of the log reader: blocks of lines, envelopes, error names, paths, shapes, disguises, remedies."""
