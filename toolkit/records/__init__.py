"""The record of one API call, its packed and Parquet file formats, and a histogram of response times."""
