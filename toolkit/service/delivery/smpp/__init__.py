"""Delivery over SMPP 3.4: session, receipts and segmentation."""
