"""The record kept whole: catalog against index and its repair, backup and restore, removal, sources that moved."""
